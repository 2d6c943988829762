import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hours, instant, minutes } from '../core/time.ts'
import { parsePool } from '../market/pool.ts'
import { learnTogether, relationOf, relations, riskClass, standbyRisk } from './co-interruption.ts'

const pool = parsePool
const A = pool('m5.large@us-east-1a')

test.each([
  ['m5.large@us-east-1a', 'same_pool'],
  ['m5.xlarge@us-east-1a', 'same_zone_and_family'],
  ['c5.large@us-east-1a', 'same_zone'],
  ['m5.large@us-east-1b', 'same_family'],
  ['c5.large@us-east-1b', 'same_region'],
  ['m5.large@eu-west-1a', 'elsewhere'],
])('%s is %s', (id, relation) => {
  expect(relationOf(A, pool(id))).toBe(relation)
  expect(relationOf(pool(id), A)).toBe(relation)
})

test('what shares more is likelier hit together, as long as nothing was seen', () => {
  const together = learnTogether([])
  const others = ['m5.large@us-east-1a', 'm5.xlarge@us-east-1a', 'c5.large@us-east-1a', 'm5.large@us-east-1b']
  const values = [...others, 'c5.large@us-east-1b', 'm5.large@eu-west-1a'].map((id) => together(A, pool(id)))
  expect(values).toHaveLength(relations.length)
  expect(values).toEqual(values.toSorted((a, b) => b - a))
  expect(together(A, pool('m5.large@us-east-1b'))).toBe(0.31)
})

const life = (id: string, to: number, interrupted: boolean) => ({
  pool: pool(id),
  from: instant(0),
  to: instant(to),
  interrupted,
})

test('pairs of our own move the estimate: 10 of prior, and each that was seen', () => {
  const at = hours(10)
  const lives = [
    life('m5.large@us-east-1a', at, true),
    // Three in another zone: one went with it, one ran on, one had ended long before.
    life('m5.large@us-east-1b', at + minutes(10), true),
    life('m5.large@us-east-1c', hours(20), false),
    life('m5.large@us-east-1d', at - hours(1), true),
  ]
  // The interruption in b sees a (hit) and c; that in d sees a, b and c; that in a sees b (hit) and c.
  expect(learnTogether(lives)(A, pool('m5.large@us-east-1b'))).toBeCloseTo((3.1 + 2) / (10 + 7), 12)
})

test('a neighbour under notice weighs with its whole co-interruption, a quiet one hardly', () => {
  const together = () => 0.3
  const b = pool('c5.large@us-east-1b')
  expect(standbyRisk(0.01, b, [], together)).toBeCloseTo(0.01, 12)
  expect(standbyRisk(0.01, b, [{ pool: A, probability: 1 }], together)).toBeCloseTo(1 - 0.99 * 0.7, 12)
  expect(standbyRisk(0.01, b, [{ pool: A, probability: 0.01 }], together)).toBeCloseTo(0.01297, 5)
})

test('risks stay probabilities, grow with each neighbour, and their classes keep their order', () => {
  const probability = fc.double({ min: 0, max: 1, noNaN: true })
  fc.assert(
    fc.property(probability, fc.array(probability, { maxLength: 6 }), probability, (own, many, share) => {
      const together = () => share
      const neighbours = many.map((value) => ({ pool: A, probability: value }))
      const risk = standbyRisk(own, A, neighbours, together)
      expect(risk).toBeGreaterThanOrEqual(own - 1e-12)
      expect(risk).toBeLessThanOrEqual(1)
      const fewer = standbyRisk(own, A, neighbours.slice(1), together)
      expect(risk).toBeGreaterThanOrEqual(fewer - 1e-12)
      expect(riskClass(risk)).toBeGreaterThanOrEqual(riskClass(fewer - 1e-12))
    }),
  )
})
