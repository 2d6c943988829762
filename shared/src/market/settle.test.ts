import fc from 'fast-check'
import { expect, test } from 'vitest'
import { microUsd } from '../core/money.ts'
import { instant } from '../core/time.ts'
import { BUCKET } from './bucket.ts'
import { type Observation, outranks, sampleConfidence, sampleSource, settle } from './settle.ts'

const observation: fc.Arbitrary<Observation> = fc.record({
  poolId: fc.constantFrom('c5.large@us-east-1a', 'c5.large@us-east-1b'),
  sampledAt: fc.integer({ min: 0, max: 3 * BUCKET }).map(instant),
  price: fc.integer({ min: 1, max: 4 }).map(microUsd),
  confidence: fc.constantFrom(100 as const, 95 as const),
  instanceId: fc.constantFrom('i-0a', 'i-0b', 'i-0c'),
  agentId: fc.constantFrom('web', 'db'),
})

const first: Observation = {
  poolId: 'c5.large@us-east-1a',
  sampledAt: instant(1000),
  price: microUsd(41_600),
  confidence: 100,
  instanceId: 'i-0b',
  agentId: 'db',
}

test.each<[string, Partial<Observation>]>([
  ['a replica, however late and cheap', { confidence: 95, sampledAt: instant(9000), price: microUsd(1) }],
  ['an earlier one, however cheap', { sampledAt: instant(999), price: microUsd(1) }],
  ['a dearer one of the same moment', { price: microUsd(41_601), instanceId: 'i-0a' }],
  ['the same of a larger instance id', { instanceId: 'i-0c', agentId: 'a' }],
  ['the same of a larger agent id', { agentId: 'web' }],
])('a sample outranks %s', (_, change) => {
  const other = { ...first, ...change }
  expect(outranks(first, other)).toBe(true)
  expect(outranks(other, first)).toBe(false)
})

test('outranking is a total order', () => {
  fc.assert(
    fc.property(observation, observation, observation, (a, b, c) => {
      const same = JSON.stringify({ ...a, poolId: '' }) === JSON.stringify({ ...b, poolId: '' })
      expect(Number(outranks(a, b)) + Number(outranks(b, a))).toBe(same ? 0 : 1)
      if (outranks(a, b) && outranks(b, c)) expect(outranks(a, c)).toBe(true)
    }),
    { numRuns: 1000 },
  )
})

test('any permutation and repetition of the same observations settles alike', () => {
  const shuffled = fc
    .array(observation, { maxLength: 30 })
    .chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }), fc.subarray(all)),
    )
  fc.assert(
    fc.property(shuffled, ([all, permuted, again]) => {
      const settled = settle(all)
      expect(settle([...permuted, ...again, ...all])).toEqual(settled)
      const winners = [...settled.values()].flatMap((buckets) => [...buckets.values()])
      expect(settle(winners), 'settling what is settled').toEqual(settled)
      for (const seen of all) {
        const standing = settled.get(seen.poolId)?.get(instant(seen.sampledAt - (seen.sampledAt % BUCKET)))
        expect(standing && !outranks(seen, standing)).toBe(true)
      }
    }),
  )
})

test('a snapshot says in which bucket it stands', () => {
  const snapshot = settle([first]).get(first.poolId)?.get(instant(0))
  expect(snapshot).toEqual({ ...first, at: 0 })
})

test('confidence tells who sent it', () => {
  expect(sampleConfidence('primary')).toBe(100)
  expect(sampleConfidence('replica')).toBe(95)
  expect(sampleSource(100)).toBe('primary')
  expect(sampleSource(95)).toBe('replica')
})
