import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hours, instant } from '../core/time.ts'
import { type Offer, type PipelineInput, pipelineModes, rankingNames } from './context.ts'
import { evaluate } from './pipeline.ts'
import { defaultPolicy } from './policy.ts'
import { inputOf, NOW, offer, placement } from './testing.ts'

const types = ['c5.large', 'm5.large', 'r5.large', 'c5.xlarge', 'm4.large'] as const
const zones = ['ap-south-1a', 'ap-south-1b', 'ap-south-1c'] as const
const probability = fc.double({ min: 0, max: 1, noNaN: true })
const anOffer: fc.Arbitrary<Offer> = fc
  .record({
    type: fc.constantFrom(...types),
    spotUsd: fc.oneof(fc.double({ min: 0.001, max: 0.2, noNaN: true }), fc.constantFrom(Number.NaN, -1, 0)),
    availabilityZone: fc.constantFrom(...zones),
    band: fc.constantFrom(0, 1, 2, 3, 4, null),
    instability12h: fc.option(probability),
    priceAt: fc.constantFrom(NOW, instant(NOW - hours(1)), instant(NOW - hours(7))),
  })
  .map(({ type, spotUsd, ...more }) =>
    offer(type, spotUsd, type === 'c5.xlarge' ? { ...more, vcpu: 4, memGib: 8 } : more),
  )

const anInput: fc.Arbitrary<PipelineInput> = fc
  .record({
    offers: fc.array(anOffer, { minLength: 0, maxLength: 12 }),
    mode: fc.constantFrom(...pipelineModes),
    ranking: fc.constantFrom(...rankingNames),
    signalled: fc.boolean(),
    running: fc.boolean(),
  })
  .map(({ offers, mode, ranking, signalled, running }) => {
    const current = placement('c5.large')
    const signal = { kind: 'TERMINATION', instanceId: current.instanceId, actionAt: NOW } as const
    return inputOf(offers, {
      mode,
      current: running ? current : null,
      signals: signalled ? [signal] : [],
      policy: { ...defaultPolicy(mode), ranking },
    })
  })
const bytes = (input: PipelineInput): string => JSON.stringify(evaluate(input))

test('offers in any order give the same bytes', () => {
  fc.assert(
    fc.property(
      anInput.chain((input) =>
        fc.tuple(
          fc.constant(input),
          fc.shuffledSubarray([...input.offers], { minLength: input.offers.length }),
        ),
      ),
      ([input, offers]) => {
        expect(bytes({ ...input, offers })).toBe(bytes(input))
      },
    ),
    { numRuns: 500 },
  )
})

test('the same offer twice is the same as once', () => {
  fc.assert(
    fc.property(anInput, fc.nat(), (input, at) => {
      const again = input.offers[at % Math.max(1, input.offers.length)]
      const offers = again ? [...input.offers, { ...again }] : input.offers
      expect(bytes({ ...input, offers })).toBe(bytes(input))
    }),
  )
})

test('the effective cost of a pool does not depend on which others there are', () => {
  fc.assert(
    fc.property(anInput, anOffer, (input, added) => {
      const policy = { ...input.policy, ranking: 'effective-cost-v1' } as const
      // Whether any offer has a score decides whether a model answered, which is no property of a pool.
      const scored = offer('m5.large', 0.19, { availabilityZone: 'ap-south-1a' })
      const costs = (offers: readonly Offer[]) =>
        new Map(
          evaluate({ ...input, policy, offers }).ranked.map(({ id, score }) => [id, score?.effectiveUsd]),
        )
      const before = costs([...input.offers, scored])
      const more = { ...added, instanceType: 'm5a.large' }
      const after = costs([...input.offers, scored, more])
      after.delete(`m5a.large@${more.availabilityZone}`)
      expect([...after]).toEqual([...before])
    }),
  )
})

test('every candidate is ranked or has a reason, and each stage passes on what it says', () => {
  fc.assert(
    fc.property(anInput, (input) => {
      const { trace, ranked } = evaluate(input)
      let before = trace[0]?.in ?? 0
      for (const { in: entered, out, dropped } of trace) {
        expect(entered).toBe(before)
        expect(out + dropped.length).toBe(entered)
        expect(dropped.every(({ code, reason }) => code !== '' && reason !== '')).toBe(true)
        before = out
      }
      expect(ranked.length).toBe(before)
    }),
  )
})

test('what is stored as JSON decides the same again', () => {
  fc.assert(
    fc.property(anInput, (input) => {
      expect(bytes(JSON.parse(JSON.stringify(input)) as PipelineInput)).toBe(bytes(input))
    }),
  )
})

test('a termination notice always evacuates, and nothing else ever does', () => {
  fc.assert(
    fc.property(anInput, (input) => {
      const { decision } = evaluate(input)
      expect(decision.decision === 'EVACUATE').toBe(input.signals.length > 0 && input.current !== null)
    }),
  )
})
