import { expect, test } from 'vitest'
import { hours, instant } from '../core/time.ts'
import type { PipelineInput } from './context.ts'
import { evaluate } from './pipeline.ts'
import { defaultPolicy } from './policy.ts'
import { advisorProbability12h, hazardOf } from './risk.ts'
import { inputOf, NOW, need, offer } from './testing.ts'
import { wasteShareOf } from './waste.ts'

const policy = defaultPolicy('CLUSTER_FULL')
const A = offer('c5.large', 0.03, { interruption12h: 0.3, instability12h: 0.3 })
const B = offer('m5.large', 0.05, { interruption12h: 0.1, instability12h: 0.1 })
const C = offer('r5.large', 0.2, { interruption12h: 0.1, instability12h: 0.1, onDemandUsd: 0.3 })
const scores = (input: PipelineInput) =>
  evaluate(input).ranked.map(({ offer: { instanceType }, score }) => ({
    type: instanceType,
    cost: score?.effectiveUsd.toFixed(6),
    yield: score?.yield.toFixed(2),
  }))

test('effective cost: the worked case of two pools', () => {
  expect(hazardOf(0.3)).toBeCloseTo(0.029723, 6)
  expect(scores(inputOf([A, B]))).toEqual([
    { type: 'c5.large', cost: '0.032972', yield: '67.03' },
    { type: 'm5.large', cost: '0.050878', yield: '49.12' },
  ])
})

test('where an interruption is dear, the safer pool is the cheaper one', () => {
  const dear = inputOf([A, B], { policy: { ...policy, lossUsd: 2 } })
  expect(scores(dear).map(({ type, cost }) => [type, cost])).toEqual([
    ['m5.large', '0.067560'],
    ['c5.large', '0.089446'],
  ])
})

test('a pool that nobody would pick changes no score of the others', () => {
  const two = scores(inputOf([A, B]))
  expect(scores(inputOf([A, B, C])).slice(0, 2)).toEqual(two)
})

test("the seeds' yield turns round when such a pool is added, which is why it is not the default", () => {
  const seed = { ...policy, ranking: 'seed-v1' } as const
  const yields = (offers: PipelineInput['offers']) =>
    scores(inputOf(offers, { policy: seed })).map(({ type, yield: score }) => [type, score])
  expect(yields([A, B])).toEqual([
    ['c5.large', '28.00'],
    ['m5.large', '0.00'],
  ])
  expect(yields([A, B, { ...C, onDemandUsd: null, memGib: 4 }]).slice(0, 2)).toEqual([
    ['m5.large', '67.50'],
    ['c5.large', '59.50'],
  ])
  expect(yields([A])).toEqual([['c5.large', '70.00']])
})

test("the Lab's linear score is the discount less the probability", () => {
  const linear = { ...policy, ranking: 'seed-linear' } as const
  const ranked = evaluate(inputOf([A, B], { policy: linear })).ranked
  // 0.7 - 0.3 and 0.5 - 0.1: equal, so the cheaper one is first.
  expect(ranked.map(({ score }) => score?.value.toFixed(6))).toEqual(['0.400000', '0.400000'])
  expect(ranked[0]?.offer.instanceType).toBe('c5.large')
  expect(ranked[0]?.score?.policy).toBe('seed-linear')
})

test('a single candidate is scored as among many', () => {
  const one = offer('c5.large', 0.03, { interruption12h: 0 })
  expect(scores(inputOf([one]))).toEqual([{ type: 'c5.large', cost: '0.030000', yield: '70.00' }])
})

test('what costs more than on-demand in effect yields nothing and says so', () => {
  const [best] = evaluate(inputOf([offer('c5.large', 0.099, { interruption12h: 0.9 })])).ranked
  expect(best?.score?.yield).toBe(0)
  expect(best?.flags).toContain('WORSE_THAN_ON_DEMAND')
})

test('waste counts memory as well as CPU', () => {
  const two = { vcpu: 2, memGib: 4 }
  expect(wasteShareOf({ vcpu: 2, memGib: 4 }, two)).toBe(0)
  expect(wasteShareOf({ vcpu: 4, memGib: 8 }, two)).toBeCloseTo(0.5, 12)
  expect(wasteShareOf({ vcpu: 4, memGib: 16 }, two)).toBeCloseTo(0.587, 3)
  expect(wasteShareOf({ vcpu: 1, memGib: 2 }, two)).toBe(0)
})

test('rho takes off what other work will use', () => {
  const large = offer('m5.xlarge', 0.06, { vcpu: 4, memGib: 8, interruption12h: 0 })
  const [best] = evaluate(inputOf([large], { policy: { ...policy, rho: 0.5 } })).ranked
  expect(best?.score?.effectiveUsd).toBeCloseTo(0.06 * 0.75, 12)
})

test("the Advisor's monthly bands as probabilities of the next 12 h", () => {
  expect(advisorProbability12h(1)).toBeCloseTo(0.00128, 5)
  expect(1 - (1 - 0.2) ** (12 / 730)).toBeCloseTo(0.00366, 5)
  expect(advisorProbability12h(0)).toBeCloseTo(0.0004, 4)
  expect(advisorProbability12h(4)).toBeCloseTo(0.005, 3)
  expect(advisorProbability12h(null)).toBe(advisorProbability12h(3))
})

test('instances are spread: half of four go to each of the two best', () => {
  const offers = [A, B, C].map((one) => ({ ...one, onDemandUsd: 0.3 }))
  const spread = inputOf(offers, {
    requirement: need({ count: 4 }),
    referenceUsd: 0.3,
    policy: { ...policy, maxPoolShare: 0.5 },
  })
  expect(evaluate(spread).allocation).toEqual([
    { id: 'c5.large@ap-south-1a', count: 2 },
    { id: 'm5.large@ap-south-1a', count: 2 },
  ])
  const two = inputOf(offers, { requirement: need({ count: 2 }) })
  expect(evaluate(two).allocation).toEqual([{ id: 'c5.large@ap-south-1a', count: 2 }])
})

test('no family has more than its share', () => {
  const zones = ['a', 'b', 'c'].map((zone, i) =>
    offer('c5.large', 0.03 + i / 1000, { availabilityZone: `ap-south-1${zone}` }),
  )
  const { allocation } = evaluate(inputOf([...zones, B], { requirement: need({ count: 6 }) }))
  expect(allocation).toEqual([
    { id: 'c5.large@ap-south-1a', count: 2 },
    { id: 'c5.large@ap-south-1b', count: 2 },
    { id: 'm5.large@ap-south-1a', count: 2 },
  ])
})

test('a pool that has just interrupted us is left out, and remembered for a day', () => {
  const at = (ago: number) => [
    { instanceType: 'c5.large', availabilityZone: 'ap-south-1a', at: instant(NOW - hours(ago)) },
  ]
  const fresh = evaluate(inputOf([A, B], { interruptions: at(1) }))
  expect(fresh.decision.target?.id).toBe('m5.large@ap-south-1a')
  expect(fresh.trace.flatMap(({ dropped }) => dropped.map(({ code }) => code))).toEqual(['POOL_COOLDOWN'])
  const costs = (ago: number) =>
    evaluate(inputOf([A], { interruptions: at(ago) })).ranked[0]?.score?.parts.riskUsd ?? 0
  expect(costs(6) / costs(24)).toBeCloseTo(4, 9)
  expect(costs(24)).toBeCloseTo(0.0029723, 6)
})
