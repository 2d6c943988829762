import { expect, test } from 'vitest'
import { hours, instant } from '../core/time.ts'
import { arbitrate, disruptionBudget, type Proposal } from './arbitration.ts'
import type { Offer, PipelineInput, Placement, Signal } from './context.ts'
import { evaluate } from './pipeline.ts'
import { defaultPolicy } from './policy.ts'
import { signalKey } from './signal-override.ts'
import { nextForgone } from './switch-rule.ts'
import { inputOf, NOW, need, offer, placement } from './testing.ts'

const policy = defaultPolicy('CLUSTER_FULL')
/** Nothing but the price, so that effective costs are what a test names. */
const plain = { ...policy, overlap: hours(0), lossUsd: 0 }
const pair = (currentUsd: number, bestUsd: number, more: Partial<PipelineInput> = {}) =>
  evaluate(
    inputOf([offer('c5.large', currentUsd), offer('m5.large', bestUsd)], {
      current: placement('c5.large'),
      policy: plain,
      ...more,
    }),
  ).decision
const signal = (kind: Signal['kind'], minutes = 2): Signal => ({
  kind,
  instanceId: placement('c5.large').instanceId,
  actionAt: instant(NOW + minutes * 60_000),
})

test.each([
  [0.036, 0.034, 'STAY', 'BELOW_HYSTERESIS'],
  [0.036, 0.033, 'STAY', 'BELOW_HYSTERESIS'],
  [0.036, 0.032, 'SWITCH', 'CHEAPER'],
  [0.005, 0.0035, 'STAY', 'BELOW_HYSTERESIS'],
  [0.036, 0.036, 'STAY', 'ALREADY_BEST'],
  [0.036, 0.037, 'STAY', 'ALREADY_BEST'],
])('from %f to %f an hour: %s', (currentUsd, bestUsd, decision, code) => {
  expect(pair(currentUsd, bestUsd)).toMatchObject({ decision, code })
})

const later = (more: Partial<Placement>) => ({ current: placement('c5.large', more) })

test.each([
  ['PROTECTED', later({ protected: true })],
  ['TOO_YOUNG', later({ launchedAt: instant(NOW - hours(4) + 1) })],
  ['TOO_MANY_SWITCHES', later({ switches24h: 3 })],
  ['NO_BUDGET', { budget: { movesLeft: 0, heldBy: null } }],
  [
    'SUPERSEDED_BY',
    {
      budget: { movesLeft: 1, heldBy: { engine: 'rightsize', expiresAt: instant(NOW + 1) } as const },
    },
  ],
])('%s holds a move back', (code, more) => {
  expect(pair(0.036, 0.02, more)).toMatchObject({ decision: 'STAY', code, action: null })
})

test('a lease that has ended holds nothing', () => {
  const heldBy = { engine: 'rightsize', expiresAt: NOW } as const
  expect(pair(0.036, 0.02, { budget: { movesLeft: 1, heldBy } }).decision).toBe('SWITCH')
})

test('staying is given up once it has cost what the move costs', () => {
  const overlap = { ...policy, lossUsd: 0 }
  const at = (forgoneUsd: number) => pair(0.036, 0.034, { ...later({ forgoneUsd }), policy: overlap }).code
  // Ten minutes at $0.034 are $0.005667.
  expect(at(0.0056)).toBe('BELOW_HYSTERESIS')
  expect(at(0.0057)).toBe('PATIENCE_SPENT')
  const never = { ...overlap, patience: null }
  expect(pair(0.036, 0.034, { ...later({ forgoneUsd: 1 }), policy: never }).code).toBe('BELOW_HYSTERESIS')
})

test('what staying costs adds up, is paid back while it is the best, and never falls below nought', () => {
  const outcome = evaluate(
    inputOf([offer('c5.large', 0.036), offer('m5.large', 0.034)], {
      current: placement('c5.large'),
      policy: { ...policy, lossUsd: 0 },
    }),
  )
  const { current, ranked } = outcome
  if (!current) throw new Error('no current')
  const best = ranked.find(({ isCurrent }) => !isCurrent)
  expect(nextForgone(0.001, current, best, 2)).toBeCloseTo(0.005, 9)
  expect(nextForgone(0.001, current, undefined, 2)).toBe(0.001)
  if (best) expect(nextForgone(0.001, best, current, 2)).toBe(0)
})

test.each([
  [0.85, 'SWITCH', 'UNSAFE'],
  [0.8499, 'STAY', 'BELOW_HYSTERESIS'],
])('a current pool at %f is left: %s', (instability12h, decision, code) => {
  const offers = [offer('c5.large', 0.036, { instability12h }), offer('m5.large', 0.0359)]
  const outcome = evaluate(inputOf(offers, { current: placement('c5.large'), policy: plain }))
  expect(outcome.decision).toMatchObject({ decision, code })
})

test('unsafe, and nowhere safe: it stays, says so, and on-demand is the way out', () => {
  const unsafe = { instability12h: 0.9 }
  const offers = [offer('c5.large', 0.036, unsafe), offer('m5.large', 0.02, unsafe)]
  expect(evaluate(inputOf(offers, { current: placement('c5.large') })).decision).toMatchObject({
    decision: 'STAY',
    code: 'UNSAFE_AND_NO_CANDIDATE',
    alert: 'UNSAFE_AND_NO_CANDIDATE',
    suggestion: 'ON_DEMAND_FALLBACK',
  })
})

test('only pools of the worst band: it stays, and on-demand is the way out', () => {
  const offers = [offer('c5.large', 0.036, { band: 4 }), offer('m5.large', 0.02, { band: 4 })]
  expect(evaluate(inputOf(offers, { current: placement('c5.large') })).decision).toMatchObject({
    decision: 'STAY',
    code: 'NO_CANDIDATE',
    suggestion: 'ON_DEMAND_FALLBACK',
  })
})

test('nothing usable and nothing running is no empty success', () => {
  const { decision, trace } = evaluate(inputOf([offer('c5.large', Number.NaN), offer('m5.large', -1)]))
  expect(decision).toMatchObject({ decision: 'STAY', code: 'NO_CANDIDATE', suggestion: 'ON_DEMAND_FALLBACK' })
  expect(trace[0]?.dropped.map(({ code }) => code)).toEqual(['BAD_INPUT:spotUsd', 'BAD_INPUT:spotUsd'])
})

test('without a model only signals move anything, and that is said', () => {
  const none = { model: null, modelFailure: 'it did not answer within 100 ms' }
  const decision = pair(0.036, 0.01, none)
  expect(decision).toMatchObject({ decision: 'STAY', code: 'ADVISOR_FALLBACK', alert: 'ADVISOR_FALLBACK' })
  expect(decision.reason).toContain('100 ms')
  expect(pair(0.036, 0.01, { ...none, signals: [signal('TERMINATION')] })).toMatchObject({
    decision: 'EVACUATE',
    target: { id: 'm5.large@ap-south-1a', risk: { source: 'ADVISOR_FALLBACK', instability12h: null } },
  })
})

test('a pool for which the model has no score falls, and a current one without it is not compared', () => {
  const unscored = { instability12h: null }
  const fallen = evaluate(inputOf([offer('c5.large', 0.03), offer('m5.large', 0.02, unscored)]))
  expect(fallen.decision.target?.id).toBe('c5.large@ap-south-1a')
  expect(fallen.trace.flatMap(({ dropped }) => dropped)).toEqual([
    { id: 'm5.large@ap-south-1a', code: 'NO_RISK_SCORE', reason: 'the model has no score for it' },
  ])
  const offers = [offer('c5.large', 0.03, unscored), offer('m5.large', 0.01)]
  expect(evaluate(inputOf(offers, { current: placement('c5.large') })).decision.code).toBe('CURRENT_UNKNOWN')
})

test('a termination notice evacuates, whatever the model says and whatever holds moves back', () => {
  const held = {
    ...later({ protected: true, launchedAt: NOW, switches24h: 9 }),
    signals: [signal('TERMINATION')],
  }
  expect(pair(0.02, 0.036, held)).toMatchObject({
    decision: 'EVACUATE',
    reason: 'AWS Termination Notice received',
    awsSignal: 'TERMINATION',
    target: { id: 'm5.large@ap-south-1a' },
  })
})

test('an evacuation takes an unsafe pool when there is no other', () => {
  const offers = [offer('c5.large', 0.02), offer('m5.large', 0.03, { instability12h: 0.99, band: 4 })]
  const outcome = evaluate(
    inputOf(offers, { current: placement('c5.large'), signals: [signal('TERMINATION')] }),
  )
  expect(outcome.decision).toMatchObject({ decision: 'EVACUATE', target: { id: 'm5.large@ap-south-1a' } })
})

test('with no other pool at all an evacuation asks for another instance in its own', () => {
  const only = inputOf([offer('c5.large', 0.02)], { current: placement('c5.large') })
  expect(evaluate({ ...only, signals: [signal('TERMINATION')] }).decision.target?.id).toBe(
    'c5.large@ap-south-1a',
  )
  expect(evaluate({ ...only, signals: [signal('REBALANCE')] }).decision).toMatchObject({
    target: null,
    suggestion: 'ON_DEMAND_FALLBACK',
  })
})

test('a recommendation and a notice at once evacuate once', () => {
  const signals = [signal('REBALANCE'), signal('TERMINATION'), signal('TERMINATION')]
  const first = pair(0.02, 0.036, { signals })
  expect(first).toMatchObject({ decision: 'EVACUATE', action: { kind: 'EVACUATE' } })
  const handledSignals = first.action?.signals ?? []
  expect(handledSignals).toEqual([signal('REBALANCE'), signal('TERMINATION')].map(signalKey))
  expect(pair(0.02, 0.036, { signals, handledSignals })).toMatchObject({
    decision: 'EVACUATE',
    code: 'ALREADY_HANDLED',
    action: null,
  })
})

test("a signal for somebody else's instance is nobody's here", () => {
  const foreign = { ...signal('TERMINATION'), instanceId: 'i-0aaaaaaaaaaaaaaaa' }
  expect(pair(0.02, 0.036, { signals: [foreign] })).toMatchObject({ decision: 'STAY', awsSignal: 'NONE' })
})

test.each([
  ['cordon_and_prelaunch', null, 'DRAIN', 'CORDON_AND_PRELAUNCH'],
  ['drain', null, 'DRAIN', 'DRAIN'],
  ['replica_if_p', null, 'DRAIN', 'REPLICA'],
  ['replica_if_p', 5 / 14, 'DRAIN', 'REPLICA'],
  ['replica_if_p', 4 / 14, 'STAY', undefined],
  ['replica_if_p', 0.3, 'STAY', undefined],
  ['ignore', null, 'STAY', undefined],
] as const)(
  'on a rebalance recommendation %s with %s: %s',
  (onRebalance, rebalanceProbability, decision, kind) => {
    const outcome = pair(0.02, 0.036, {
      signals: [signal('REBALANCE')],
      rebalanceProbability,
      policy: { ...plain, onRebalance },
    })
    expect(outcome).toMatchObject({ decision, awsSignal: 'REBALANCE' })
    expect(outcome.action?.kind).toBe(kind)
  },
)

/** The four scenarios of the platform's description, on its own pools. */
const mumbai = (current: Placement, signals: readonly Signal[]): PipelineInput => {
  const parent: Partial<Offer> = { vcpu: 96, memGib: 192, onDemandUsd: 4.08 }
  const offers = [
    offer('c5.large', 0.03, { instability12h: 0.28 }),
    offer('c5.large', 0.029, { availabilityZone: 'ap-south-1b', instability12h: 0.91 }),
    offer('c5.24xlarge', 1.9, { ...parent, availabilityZone: 'ap-south-1b', instability12h: 0.92 }),
    offer('c5.24xlarge', 1.8, { ...parent, availabilityZone: 'ap-south-1c', instability12h: 0.2 }),
  ]
  return inputOf(offers, { requirement: null, referenceUsd: null, current, signals })
}

test.each([
  ['1: no signal', placement('c5.large'), [], 'STAY', 0.28, 'NONE'],
  ['2: rebalance', placement('c5.large'), [signal('REBALANCE')], 'DRAIN', 0.28, 'REBALANCE'],
  ['3: termination', placement('c5.large'), [signal('TERMINATION')], 'EVACUATE', 0.28, 'TERMINATION'],
  ['4: high risk', placement('c5.24xlarge', { availabilityZone: 'ap-south-1b' }), [], 'SWITCH', 0.92, 'NONE'],
] as const)('scenario %s', (_, current, signals, decision, crash, awsSignal) => {
  const outcome = evaluate(mumbai(current, signals))
  expect(outcome.decision).toMatchObject({ decision, awsSignal })
  expect(outcome.current?.risk?.instability12h).toBe(crash)
})

test('the Lab passes over right-sizing and waste, never over the gate', () => {
  const offers = [
    offer('c5.large', 0.03),
    offer('c5.xlarge', 0.01, { vcpu: 4, memGib: 8 }),
    offer('m5.large', 0.01, { instability12h: 0.86 }),
    offer('r5.large', 0.02, { memGib: 16 }),
  ]
  const outcome = evaluate(inputOf(offers, { mode: 'SINGLE_LINEAR' }))
  expect(outcome.trace.map(({ stage, in: before, out }) => [stage, before, out])).toEqual([
    ['input', 4, 4],
    ['hardware', 4, 4],
    ['right_sizing', 4, 3],
    ['spot_advisor', 3, 3],
    ['risk', 3, 3],
    ['safety_gate', 3, 2],
    ['ranking', 2, 2],
  ])
  expect(outcome.ranked.map(({ offer: { instanceType }, wasteShare }) => [instanceType, wasteShare])).toEqual(
    [
      ['r5.large', 0],
      ['c5.large', 0],
    ],
  )
  expect(evaluate(inputOf(offers)).ranked[0]).toMatchObject({ flags: ['OVERSIZED'], wasteShare: 0.5 })
})

test('hardware that does not fit falls with its reason', () => {
  const offers = [
    offer('c5.large', 0.03),
    offer('c6g.large', 0.01, { arch: 'arm64' }),
    offer('t3.micro', 0.01, { vcpu: 1 }),
    offer('t3.small', 0.01, { memGib: 2 }),
    offer('g4dn.large', 0.01, { gpu: 1 }),
    offer('m4.large', 0.01),
    offer('m5.large', 0.01, { availabilityZone: 'ap-south-1c' }),
    offer('c5.4xlarge', 0.01, { vcpu: 16, memGib: 32 }),
    offer('r5.large', 0.11),
    offer('i3.large', 0.01, { priceAt: instant(NOW - hours(6) - 1) }),
  ]
  const requirement = need({ familiesDenied: ['m4'], zonesAllowed: ['ap-south-1a'] })
  const { trace, ranked } = evaluate(inputOf(offers, { requirement }))
  expect(
    Object.fromEntries(trace.flatMap(({ dropped }) => dropped.map(({ id, code }) => [id, code]))),
  ).toEqual({
    'c6g.large@ap-south-1a': 'ARCH_MISMATCH',
    't3.micro@ap-south-1a': 'TOO_FEW_VCPU',
    't3.small@ap-south-1a': 'TOO_LITTLE_MEMORY',
    'g4dn.large@ap-south-1a': 'GPU_MISMATCH',
    'm4.large@ap-south-1a': 'FAMILY_NOT_ALLOWED',
    'm5.large@ap-south-1c': 'ZONE_NOT_ALLOWED',
    'c5.4xlarge@ap-south-1a': 'TOO_LARGE',
    'r5.large@ap-south-1a': 'SPOT_ABOVE_OD',
    'i3.large@ap-south-1a': 'STALE_INPUT',
  })
  expect(ranked.map(({ id }) => id)).toEqual(['c5.large@ap-south-1a'])
})

test('the gate is as strict as the model that scored', () => {
  const offers = [offer('c5.large', 0.03, { instability12h: 0.2 })]
  const strict = { version: '1', decisionThreshold: 0.153 }
  expect(evaluate(inputOf(offers, { model: strict })).decision.code).toBe('NO_CANDIDATE')
  expect(evaluate(inputOf(offers)).decision.code).toBe('PLACE')
})

test('it must be known how much is needed', () => {
  expect(() => evaluate(inputOf([], { requirement: null, current: placement('c5.large') }))).toThrow(
    'how much the target needs',
  )
})

test('one action per target, by rank, and the budget goes to the first', () => {
  const wish = (engine: Proposal['engine'], target: string, voluntary = true): Proposal => ({
    engine,
    target,
    action: 'any',
    voluntary,
  })
  const { actions, skipped } = arbitrate(
    [
      wish('bin-pack', 'n1'),
      wish('spot-optimize', 'n1'),
      wish('bin-pack', 'n2'),
      wish('evacuation', 'n3', false),
    ],
    1,
  )
  expect(actions.map(({ engine, target }) => `${engine} ${target}`)).toEqual([
    'evacuation n3',
    'spot-optimize n1',
  ])
  expect(skipped.map(({ target, code }) => `${target} ${code}`)).toEqual([
    'n1 SUPERSEDED_BY:spot-optimize',
    'n2 NO_BUDGET',
  ])
  expect([
    disruptionBudget(3, 0),
    disruptionBudget(25, 0),
    disruptionBudget(25, 2),
    disruptionBudget(3, 2),
  ]).toEqual([1, 2, 0, 0])
})
