import { hours } from '@understudy/shared/core/time'
import type { PipelineInput } from '@understudy/shared/pipeline/context'
import { evaluate } from '@understudy/shared/pipeline/pipeline'
import { defaultPolicy } from '@understudy/shared/pipeline/policy'
import { inputOf, offer, placement } from '@understudy/shared/pipeline/testing'
import {
  type SpotConfig,
  type SpotInput,
  type SpotInputText,
  spotConfigSchema,
  spotInputSchema,
  spotOutputSchema,
} from '@understudy/shared/protocol/spot-optimizer'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromOffer, spotPolicy, toPipelineInput } from './spot-input.ts'
import { createSpotOptimizer } from './spot-optimizer.ts'
import { spotSample } from './spot-sample.ts'

const engine = createSpotOptimizer({
  settings: {},
  standing: () => ({ enabled: false, reason: '' }),
  measured: () => Promise.resolve({ last: null, agreementRate: null }),
})
const decide = (input: SpotInputText, config: SpotConfig = {}) =>
  engine.decide(spotInputSchema.parse(input), config)
const sampleWith = (more: Partial<SpotInputText>): SpotInputText => ({ ...spotSample, ...more })

describe('the spot optimizer', () => {
  test('moves its own sample, and says of every other pool why not', () => {
    const output = decide(spotSample)
    expect(spotOutputSchema.parse(output)).toEqual(output)
    expect(output).toMatchObject({
      decision: 'SWITCH',
      code: 'CHEAPER',
      target_pool_id: 'm5.large@us-east-1b',
      risk_source: 'MODEL',
      savings_against: 'current',
      unplaced: 0,
    })
    expect(output.skipped.map(({ pool_id: id, code }) => [id, code]).sort()).toEqual([
      ['c5.large@us-east-1a', 'TOO_LITTLE_MEMORY'],
      ['m5a.large@us-east-1c', 'UNSAFE'],
      ['m6i.large@us-east-1b', 'BAD_INPUT:spot_price'],
    ])
    expect(output.skipped[0]?.reason).toBe('its spot_price makes no sense')
    const [best, own] = output.ranked
    expect(own?.pool_id).toBe('m5.large@us-east-1a')
    const gain = (own?.effective_cost ?? 0) - (best?.effective_cost ?? 0)
    expect(output.estimated_savings).toBeCloseTo(gain * 730, 9)
  })

  test('stays where it was set to ask for more than the move saves', () => {
    expect(decide(spotSample, { min_gain: 0.02 })).toMatchObject({
      decision: 'STAY',
      code: 'BELOW_HYSTERESIS',
    })
    expect(decide(spotSample, { min_lifetime_hours: 72 })).toMatchObject({ code: 'TOO_YOUNG' })
    expect(decide(sampleWith({ moves_left: 0 }))).toMatchObject({ code: 'NO_BUDGET' })
  })

  test('a notice of AWS evacuates whatever it is set to', () => {
    const signals = [{ kind: 'TERMINATION' as const, action_at: '2026-01-05T12:02:00Z' }]
    expect(decide(sampleWith({ signals }), { min_gain: 1000 })).toMatchObject({
      decision: 'EVACUATE',
      action: 'EVACUATE',
    })
  })

  test('places several where nothing runs, and compares with on-demand', () => {
    const output = decide(sampleWith({ current: null, requirement: { vcpu: 2, memory_gib: 8, count: 10 } }))
    // A third of them a pool and two thirds a family, so that one pool taken away takes few.
    expect(output.allocation).toEqual([
      { pool_id: 'm5.large@us-east-1b', count: 3 },
      { pool_id: 'm5.large@us-east-1a', count: 3 },
    ])
    const [first, second] = output.ranked
    const saved = (0.096 - (first?.effective_cost ?? 0)) * 3 + (0.096 - (second?.effective_cost ?? 0)) * 3
    expect(output).toMatchObject({
      code: 'PLACE',
      action: 'LAUNCH',
      unplaced: 4,
      savings_against: 'on-demand',
    })
    expect(output.estimated_savings).toBeCloseTo(saved * 730, 9)
  })

  test('without any pool it says so, and claims no savings', () => {
    expect(decide(sampleWith({ current: null, offers: [] }))).toMatchObject({
      decision: 'STAY',
      code: 'NO_CANDIDATE',
      suggestion: 'ON_DEMAND_FALLBACK',
      estimated_savings: null,
      savings_against: null,
    })
  })

  test('an input says how much is needed, or what runs', () => {
    const { error } = spotInputSchema.safeParse(sampleWith({ current: null, requirement: null }))
    expect(error?.issues).toMatchObject([{ path: ['requirement'] }])
  })

  test('the same input is the same output, in whatever order its offers come', () => {
    const first = JSON.stringify(decide(spotSample))
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...spotSample.offers], { minLength: spotSample.offers.length }),
        (offers) => {
          expect(JSON.stringify(decide(sampleWith({ offers })))).toBe(first)
        },
      ),
      { numRuns: 30 },
    )
  })

  test('whatever comes, the output is as its schema says', () => {
    const price = fc.oneof(fc.double({ min: -1, max: 1, noNaN: true }), fc.constant(0))
    const share = fc.option(fc.double({ min: 0, max: 1, noNaN: true }))
    const some = fc.record({
      instance_type: fc.constantFrom('m5.large', 'c6g.xlarge', 'no type'),
      availability_zone: fc.constantFrom('us-east-1a', 'eu-west-1b', 'nowhere'),
      spot_price: price,
      price_at: fc.constantFrom('2026-01-05T12:00:00Z', '2026-01-04T12:00:00Z', '2027-01-01T00:00:00Z'),
      on_demand_price: fc.option(price),
      vcpu: fc.constantFrom(0, 2, 4, -1),
      memory_gib: fc.constantFrom(0, 8, 16),
      interruption_band: fc.option(fc.integer({ min: -1, max: 5 })),
      p_instability_12h: share,
      p_interruption_12h: share,
    })
    const rankings = fc.constantFrom('effective-cost-v1', 'seed-v1', 'seed-linear', undefined)
    fc.assert(
      fc.property(
        fc.array(some, { maxLength: 6 }),
        rankings,
        fc.integer({ min: 1, max: 20 }),
        (offers, ranking, count) => {
          const requirement = { vcpu: 2, memory_gib: 4, count }
          const output = decide(sampleWith({ offers, requirement }), spotConfigSchema.parse({ ranking }))
          expect(spotOutputSchema.safeParse(output).error).toBeUndefined()
          const placed = output.allocation.reduce((sum, one) => sum + one.count, 0)
          expect(placed + output.unplaced).toBe(count)
          const accounted = new Set([...output.ranked, ...output.skipped].map(({ pool_id: id }) => id))
          for (const one of offers)
            expect(accounted.has(`${one.instance_type}@${one.availability_zone}`)).toBe(true)
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('its words and those of the pipeline', () => {
  test('an offer goes there and back', () => {
    const offers = [
      offer('m5.large', 0.03, { band: 2, gpu: 1 }),
      offer('c5.large', 0.02, { onDemandUsd: null }),
    ]
    const input = spotInputSchema.parse({ ...spotSample, offers: offers.map(fromOffer) }) satisfies SpotInput
    expect(toPipelineInput(input, defaultPolicy('CLUSTER_FULL')).offers).toEqual(offers)
  })

  test('it decides as the pipeline does', () => {
    const offers = [offer('m5.large', 0.05, { memGib: 8 }), offer('m5a.large', 0.02, { memGib: 8 })]
    const plain: PipelineInput = inputOf(offers, { current: placement('m5.large'), referenceUsd: null })
    const input: SpotInputText = {
      now: new Date(plain.now).toISOString(),
      requirement: { vcpu: 2, memory_gib: 4 },
      current: {
        ...{
          instance_id: 'i-0123456789abcdef0',
          instance_type: 'm5.large',
          availability_zone: 'ap-south-1a',
        },
        launched_at: new Date(plain.current?.launchedAt ?? 0).toISOString(),
      },
      offers: offers.map(fromOffer),
      model: { version: 'price-instability@1.0.0' },
    }
    const { decision, ranked } = evaluate(plain)
    const output = decide(input)
    expect([output.decision, output.code, output.gain]).toEqual([
      decision.decision,
      decision.code,
      decision.gainUsd,
    ])
    expect(output.ranked.map(({ pool_id: id }) => id)).toEqual(ranked.map(({ id }) => id))
  })

  test('what is set goes before the installation, and that before the usual', () => {
    const policy = spotPolicy(
      'CLUSTER_FULL',
      { tauAdmit: 0.7, minGainUsd: 5 },
      { min_gain: 0.01, patience: null, max_price_age_hours: 2 },
    )
    expect(policy).toEqual({
      ...defaultPolicy('CLUSTER_FULL'),
      ...{ tauAdmit: 0.7, minGainUsd: 0.01, patience: null, maxPriceAge: hours(2) },
    })
  })
})
