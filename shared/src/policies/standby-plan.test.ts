import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hours, instant, minutes, seconds } from '../core/time.ts'
import { signalOutcomes } from '../interruption/signal-outcome.ts'
import { answerRebalance, type RebalanceFacts } from './rebalance-policy.ts'
import { planStandbys, type QuietAgent, type StandbyFacts } from './standby-plan.ts'

const NOW = instant(hours(100))
const ago = (millis: number) => instant(NOW - millis)

const standby = (id: string, more: Partial<StandbyFacts> = {}): StandbyFacts => ({
  ...{ id, instance: `i-${id}`, type: 'automatic-rebalance', createdAt: ago(hours(3)) },
  ...{ isReady: true, isAtRisk: false, merit: 0, ...more },
})
const agent = (more: Partial<QuietAgent> = {}): QuietAgent => ({
  ...{ now: NOW, policy: 'replica', automatic: true, threshold: 0.3, minReplicas: 0, cooldown: hours(2) },
  ...{ signal: null, hazard: 0.001, lastMoveAt: null, triedAt: null, standbys: [], ...more },
})
const signal = (millisAgo: number, more: Partial<NonNullable<QuietAgent['signal']>> = {}) => ({
  ...{ detectedAt: ago(millisAgo), outcome: 'open' as const, probability: 0.4, ...more },
})

test('a quiet agent is left alone', () => {
  expect(planStandbys(agent())).toEqual({ kind: 'nothing' })
})

test('a recommendation that is likely to be followed, or a hazard as high, makes one replica', () => {
  const made = planStandbys(agent({ signal: signal(1000) }))
  expect(made).toMatchObject({ kind: 'make', type: 'automatic-rebalance' })
  expect(planStandbys(agent({ signal: signal(1000), standbys: [standby('a')] })).kind).toBe('nothing')
  expect(planStandbys(agent({ signal: signal(1000, { probability: 0.29 }) })).kind).toBe('nothing')
  expect(planStandbys(agent({ hazard: 0.31 }))).toMatchObject({ kind: 'make' })
  expect(planStandbys(agent({ hazard: 0.3 })).kind).toBe('nothing')
  expect(planStandbys(agent({ hazard: null })).kind).toBe('nothing')
})

test('as many are kept as the agent is to have', () => {
  const two = agent({ minReplicas: 2, standbys: [standby('a', { type: 'manual' })] })
  expect(planStandbys(two)).toMatchObject({
    kind: 'make',
    type: 'automatic-termination',
    why: '2 are to be kept at all times',
  })
  expect(planStandbys({ ...two, automatic: false }).kind).toBe('nothing')
})

test('with handover the best that is ready takes over, and one whose own instance is at risk never', () => {
  const standbys = [standby('a', { isAtRisk: true }), standby('b', { merit: 2 }), standby('c', { merit: 1 })]
  const facts = agent({ policy: 'handover', signal: signal(1000), standbys })
  expect(planStandbys(facts)).toMatchObject({ kind: 'hand-over', instance: 'i-c' })
  expect(planStandbys({ ...facts, policy: 'replica' }).kind).toBe('nothing')
  expect(planStandbys({ ...facts, lastMoveAt: ago(seconds(59)) }).kind).toBe('nothing')
  expect(planStandbys({ ...facts, triedAt: ago(minutes(4)) }).kind).toBe('nothing')
  expect(planStandbys({ ...facts, triedAt: ago(minutes(5)) }).kind).toBe('hand-over')
})

test('what was made for a risk is let go when that has been over for the cool-down, the worst first', () => {
  const standbys = [standby('a'), standby('b', { merit: 1 }), standby('c', { isReady: false })]
  const facts = agent({ signal: signal(hours(2), { outcome: 'not_followed' }), standbys })
  expect(planStandbys(facts)).toEqual({
    kind: 'release',
    id: 'c',
    why: 'no notice followed the recommendation: it is not needed any more',
  })
  expect(planStandbys({ ...facts, standbys: standbys.slice(0, 2) })).toMatchObject({ id: 'b' })
  expect(planStandbys({ ...facts, now: instant(NOW - 1) }).kind).toBe('nothing')
  const young = [standby('a', { createdAt: ago(hours(1)) })]
  expect(planStandbys(agent({ standbys: young })).kind).toBe('nothing')
})

const facts: fc.Arbitrary<QuietAgent> = fc.record({
  now: fc.constant(NOW),
  policy: fc.constantFrom('ignore', 'replica', 'handover'),
  automatic: fc.boolean(),
  threshold: fc.constantFrom(0, 0.3, 1),
  minReplicas: fc.integer({ min: 0, max: 3 }),
  cooldown: fc.constantFrom(minutes(1), hours(2)),
  signal: fc.option(
    fc.record({
      detectedAt: fc.integer({ min: 0, max: hours(5) }).map(ago),
      outcome: fc.constantFrom(...signalOutcomes),
      probability: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  ),
  hazard: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
  lastMoveAt: fc.option(fc.integer({ min: 0, max: hours(1) }).map(ago)),
  triedAt: fc.option(fc.integer({ min: 0, max: hours(1) }).map(ago)),
  standbys: fc.array(
    fc.record({
      id: fc.uuid(),
      instance: fc.option(fc.uuid()),
      type: fc.constantFrom('manual', 'automatic-rebalance', 'automatic-termination'),
      createdAt: fc.integer({ min: 0, max: hours(5) }).map(ago),
      isReady: fc.boolean(),
      isAtRisk: fc.boolean(),
      merit: fc.nat(8),
    }),
    { maxLength: 5 },
  ),
})

test('nothing is done for nobody, nobody is let go who is needed, and what was done is not undone', () => {
  fc.assert(
    fc.property(facts, (all) => {
      const plan = planStandbys(all)
      if (all.policy === 'ignore' && all.minReplicas === 0)
        expect(['nothing', 'release']).toContain(plan.kind)
      if (plan.kind === 'make') {
        expect(all.automatic).toBe(true)
        const made = standby('new', { type: plan.type, createdAt: NOW, isReady: false, instance: null })
        expect(planStandbys({ ...all, standbys: [...all.standbys, made] })).not.toMatchObject({ id: 'new' })
      }
      if (plan.kind === 'release') {
        const left = all.standbys.filter(({ id }) => id !== plan.id)
        expect(left).toHaveLength(all.standbys.length - 1)
        expect(left.length).toBeGreaterThanOrEqual(all.minReplicas)
        expect(all.standbys.find(({ id }) => id === plan.id)?.type).toBe('automatic-rebalance')
        expect(planStandbys({ ...all, standbys: left }).kind).not.toBe('make')
      }
      if (plan.kind === 'hand-over') {
        const target = all.standbys.find(({ instance }) => instance === plan.instance)
        expect(target).toMatchObject({ isReady: true, isAtRisk: false })
        expect(all.policy).toBe('handover')
      }
    }),
  )
})

const seen: RebalanceFacts = {
  ...{ instance: 'i-0a', isPrimary: true, probability: 0.4, threshold: 0.3 },
  ...{ policy: 'replica', automatic: true, hasStandby: false },
}
test.each<[Partial<RebalanceFacts>, string, string]>([
  [{}, 'replica', 'the probability of 0.40 is above 0.3: a replica is made in the safest pool'],
  [{ hasStandby: true, automatic: false }, 'replica', 'a replica is there already'],
  [{ policy: 'handover' }, 'hand-over', 'and takes over when it is ready'],
  [{ policy: 'ignore' }, 'none', 'the agent ignores recommendations'],
  [{ isPrimary: false }, 'none', 'i-0a is not the primary'],
  [{ probability: 0.3 }, 'none', 'is not above the threshold of 0.3'],
  [{ automatic: false }, 'none', 'replicas may not be created automatically'],
])('a recommendation with %j: %s, because %s', (more, act, why) => {
  const answer = answerRebalance({ ...seen, ...more })
  expect(answer.act).toBe(act)
  expect(answer.why).toContain(why)
})
