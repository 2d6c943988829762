import { fromUsd } from '@understudy/shared/core/money'
import { instant } from '@understudy/shared/core/time'
import { advisorHazard } from '@understudy/shared/interruption/advisor-rate'
import { type InterruptionBand, parsePool, poolId } from '@understudy/shared/market/pool'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PoolOffer } from '../cloud/cloud.ts'
import { type SelectionInput, selectOnDemand, selectPools, selectRefused } from './replica-selection.ts'

const offer = (id: string, usd: number, band: InterruptionBand | null = 1, onDemand = 0.1): PoolOffer => ({
  pool: parsePool(id),
  spotPrice: fromUsd(usd),
  onDemandPrice: fromUsd(onDemand),
  interruptionBand: band,
  at: instant(0),
})

const offers = [
  offer('m5.large@us-east-1a', 0.03, 2),
  offer('m5.large@us-east-1b', 0.035, 3),
  offer('m5.large@us-east-1c', 0.04, 0),
  offer('c5.large@us-east-1d', 0.033, 1),
  offer('m5.2xlarge@us-east-1b', 0.01, 0),
  offer('m6g.large@us-east-1c', 0.01, 0),
]

const usual: SelectionInput = {
  offers,
  current: parsePool('m5.large@us-east-1a'),
  aim: 'cheapest',
  riskOf: ({ interruptionBand }) => 12 * advisorHazard(interruptionBand),
  excludeZones: [],
  noticedPools: new Set(),
  takenPools: new Set(),
  emptyPools: new Set(),
}
const select = (input: Partial<SelectionInput>) => selectPools({ ...usual, ...input })

const refused = (emptyPools: readonly string[], most: number) =>
  selectRefused({ ...usual, emptyPools: new Set(emptyPools) }, most).map(({ pool }) => poolId(pool))

const best = (input: Partial<SelectionInput>) => {
  const [first] = select(input).ranked
  return first && poolId(first.pool)
}
const why = (input: Partial<SelectionInput>, pool: string) =>
  select(input).choice.find(({ pool_id }) => pool_id === pool)?.because

test('where the current pool is the cheapest the second cheapest is taken', () => {
  expect(best({})).toBe('c5.large@us-east-1d')
})

test('where it is not, the cheapest of the others is taken', () => {
  expect(best({ current: parsePool('m5.large@us-east-1c') })).toBe('m5.large@us-east-1a')
})

test('in an emergency the safest comes first, then the cheapest', () => {
  expect(best({ aim: 'safest' })).toBe('m5.large@us-east-1c')
  const equal = [offer('m5.large@us-east-1b', 0.05, 1), offer('m5.large@us-east-1c', 0.04, 1)]
  expect(best({ aim: 'safest', offers: equal })).toBe('m5.large@us-east-1c')
})

test('of risks that hardly differ the cheaper pool is taken', () => {
  const some = [offer('m5.large@us-east-1b', 0.05), offer('m5.large@us-east-1c', 0.04)]
  const riskOf = ({ spotPrice }: PoolOffer) => (spotPrice === fromUsd(0.04) ? 0.0102 : 0.01)
  expect(best({ aim: 'safest', offers: some, riskOf })).toBe('m5.large@us-east-1c')
})

test('on demand: as large, of the same architecture, the cheapest, never where a replica is', () => {
  const all = [
    offer('m5.large@us-east-1a', 0.2, 1, 0.11),
    offer('c5.large@us-east-1d', 0.2, 1, 0.09),
    offer('c5.large@us-east-1b', 0.2, 1, 0.08),
    offer('m6g.large@us-east-1b', 0.2, 1, 0.07),
    offer('m5.xlarge@us-east-1b', 0.2, 1, 0.01),
  ]
  const of = (more: Partial<SelectionInput>) =>
    selectOnDemand({
      ...{ offers: all, current: parsePool('m5.large@us-east-1a'), excludeZones: [], takenPools: new Set() },
      ...more,
    }).map(({ pool }) => poolId(pool))
  expect(of({})).toEqual(['c5.large@us-east-1b', 'c5.large@us-east-1d', 'm5.large@us-east-1a'])
  expect(of({ excludeZones: ['us-east-1b'] })[0]).toBe('c5.large@us-east-1d')
  expect(of({ takenPools: new Set(['c5.large@us-east-1b']) })[0]).toBe('c5.large@us-east-1d')
})

test.each([
  ['m5.large@us-east-1a', {}, 'the primary is in it'],
  ['m5.2xlarge@us-east-1b', {}, 'it is another size than m5.large'],
  ['m6g.large@us-east-1c', {}, 'it is another architecture than m5.large'],
  ['c5.large@us-east-1d', { excludeZones: ['us-east-1d'] }, 'us-east-1d is excluded'],
  ['c5.large@us-east-1d', { noticedPools: new Set(['c5.large@us-east-1d']) }, 'open interruption notice'],
  ['c5.large@us-east-1d', { takenPools: new Set(['c5.large@us-east-1d']) }, 'another replica'],
  ['c5.large@us-east-1d', { emptyPools: new Set(['c5.large@us-east-1d']) }, 'no capacity'],
  ['m5.large@us-east-1c', {}, 'dearer by $0.0070 per hour'],
  ['m5.large@us-east-1b', { aim: 'safest' }, 'likelier lost (0.0032 within 12 h'],
  ['c5.large@us-east-1d', {}, 'the cheapest that is left, $0.0330 per hour'],
] as const)('%s with %j is explained: %s', (pool, input, text) => {
  expect(why(input, pool)).toContain(text)
})

test('a pool that costs as much as on-demand is passed over', () => {
  expect(best({ offers: [offer('c5.large@us-east-1d', 0.1)] })).toBeUndefined()
})

test('whatever is offered, the choice is in another zone than the primary, and every pool has a reason', () => {
  const zone = fc.constantFrom('us-east-1a', 'us-east-1b', 'us-east-1c')
  const some = fc.uniqueArray(
    fc
      .tuple(
        fc.constantFrom('m5.large', 'c5.large', 'r5.large'),
        zone,
        fc.double({ min: 0.01, max: 0.09, noNaN: true }),
      )
      .map(([type, az, usd]) => offer(`${type}@${az}`, usd)),
    { selector: ({ pool }) => poolId(pool), minLength: 1 },
  )
  fc.assert(
    fc.property(some, zone, fc.constantFrom('cheapest' as const, 'safest' as const), (all, current, aim) => {
      const { ranked, choice } = select({ offers: all, aim, current: parsePool(`m5.large@${current}`) })
      for (const { pool } of ranked) expect(pool.availabilityZone).not.toBe(current)
      expect(choice).toHaveLength(all.length)
      for (const { because } of choice) expect(because).not.toBe('')
      expect(choice.filter(({ chosen }) => chosen)).toHaveLength(ranked.length > 0 ? 1 : 0)
    }),
  )
})

test('pools that have refused are asked again by how long ago that was, and never those that are out of the question', () => {
  const pools = ['m5.large@us-east-1c', 'm5.large@us-east-1a', 'c5.large@us-east-1d', 'm5.large@us-east-1b']
  const order = ['m5.large@us-east-1c', 'c5.large@us-east-1d', 'm5.large@us-east-1b']
  expect(refused(pools, 4)).toEqual(order)
  expect(refused(pools, 2)).toEqual(order.slice(0, 2))
  expect(refused([], 4)).toEqual([])
})
