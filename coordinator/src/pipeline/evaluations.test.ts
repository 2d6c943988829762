import { hours, instant } from '@understudy/shared/core/time'
import type { Offer, PipelineInput } from '@understudy/shared/pipeline/context'
import type { PoolView } from '@understudy/shared/protocol/market'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { type Batch, createBatch } from './batch.ts'
import { joinInput } from './decision-parts.ts'
import { createDecisionStore } from './decision-store.ts'
import { createEvaluations, type RiskModel } from './evaluations.ts'
import { createInstanceConfigs, type InstanceConfigs } from './instance-configs.ts'
import { createPolicies } from './pipeline-input.ts'
import { createTargets, openSignals } from './targets.ts'
import { typeFacts } from './type-facts.ts'

const HERE = { instanceType: 'c5.large', availabilityZone: 'ap-south-1a' }

const SETTINGS = { tauAdmit: 0.7, tauLeave: 0.7 }

describe.each(dialects)('what is asked about by itself, on %s', (dialect) => {
  let database: OpenDatabase
  let time: VirtualTime
  let configs: InstanceConfigs
  let batch: Batch
  let evaluate: ReturnType<typeof createEvaluations>

  beforeEach(async () => {
    database = await testDatabase(dialect)
    const { db } = database
    time = createVirtualTime()
    const { clock } = time
    configs = createInstanceConfigs(db, clock)
    const common = {
      ...{ clock, configs, model, store: createDecisionStore(db), targets: createTargets(db, clock) },
      policyOf: createPolicies(() => SETTINGS),
      sourcesOf: () =>
        Promise.resolve({
          ...{ pools: pools(), offered: [], factsOf: typeFacts([]) },
          interruptionOf: () => 0.001,
        }),
      rebalanceProbabilityOf: () => Promise.resolve(0.4),
    }
    evaluate = createEvaluations({
      ...common,
      allowMockSignals: false,
      instanceOf: (id) => Promise.resolve(id.startsWith('i-0') ? { launchedAt: instant(0) } : undefined),
      signalsOf: (id) => openSignals(db, id, clock.now()),
      onDecision: () => Promise.resolve(),
    })
    batch = createBatch({
      ...common,
      voluntaryMovesAllowed: () => ({ allowed: true, reason: '' }),
      submit: () => Promise.resolve({ status: 'would_act', reason: 'as told' }),
      onCycle: () => undefined,
    })
    await agent('a', { rebalance_threshold: 0.45 })
  })
  afterEach(() => database.close())

  const model: RiskModel = {
    score: (offers: readonly Offer[]) =>
      Promise.resolve({
        offers: offers.map((offer) => ({ ...offer, instability12h: 0.01 })),
        model: { version: 'm@1', decisionThreshold: null },
        modelFailure: null,
      }),
  }

  const pools = (): PoolView[] =>
    Object.entries({ 'c5.large@ap-south-1a': 0.05, 'm5.large@ap-south-1b': 0.03 }).map(
      ([pool_id, spot_price]) =>
        ({
          ...{ pool_id, spot_price, price_at: new Date(time.clock.now()).toISOString() },
          ...{ on_demand_price: 0.1, interruption_band: 0 },
        }) as PoolView,
    )

  async function agent(id: string, more: { rebalance_threshold?: number } = {}): Promise<void> {
    await addAgent(database.db, { id, instance_id: `i-0${id}`, auto_switch_enabled: 1, ...more })
    const at = { id: `i-0${id}`, agent_id: id, pool_id: 'c5.large@ap-south-1a' }
    await addInstance(database.db, { ...at, launched_at: time.clock.now() - hours(48) })
  }

  const notice = (id: string, instance: string, at: number) =>
    database.db
      .insertInto('spot_interruption_events')
      .values({
        ...{ id: crypto.randomUUID(), agent_id: id, instance_id: instance, trigger: 'notice' },
        ...{ signal_type: 'termination-notice', detected_at: at, deadline_at: at + 1000, closed_at: at + 5 },
        ...{ response_action: '', outcome: '', outcome_reason: '', failover_completed: 0 },
        ...{ seen_via: 'test', old_epoch: 1 },
      })
      .execute()

  async function moved(times: number): Promise<void> {
    for (let i = 0; i < times; i++)
      await database.db
        .insertInto('instance_switches')
        .values({
          ...{ id: crypto.randomUUID(), agent_id: 'a', epoch: i + 2, switch_reason: 'manual', success: 1 },
          ...{ incident_id: null, old_instance_id: 'i-0old', new_instance_id: 'i-0a' },
          ...{ old_pool_id: 'm5.large@ap-south-1b', new_pool_id: 'c5.large@ap-south-1a' },
          ...{
            old_instance_price: null,
            new_instance_price: null,
            switched_at: time.clock.now() - hours(i + 5),
          },
        })
        .execute()
  }

  /** As it was stored. */
  async function inputOf(where: 'id' | 'cycle_id', value: string): Promise<PipelineInput> {
    const row = await database.db
      .selectFrom('decision_execution_log')
      .select(['input', 'parts'])
      .where(where, '=', value)
      .executeTakeFirstOrThrow()
    return joinInput(database.db, row)
  }

  test('a primary is decided for from exactly what a cycle decides from', async () => {
    await batch.run('schedule')
    await time.advance(hours(1) / 2)
    await agent('b')
    await addInstance(database.db, { id: 'i-0gone', agent_id: 'b', pool_id: 'm5.large@ap-south-1b' })
    await notice('b', 'i-0gone', time.clock.now() - hours(2))
    await moved(2)
    await configs.put('a', { pipelineMode: 'SINGLE_LINEAR' }, 'ada')
    await configs.put('b', { enabled: false }, 'ada')
    const { id, outcome } = await evaluate({ ...HERE, instanceId: 'i-0a' })
    const own = await inputOf('id', id)
    const cycle = await batch.run('ada')
    expect(own).toEqual(await inputOf('cycle_id', cycle.id))
    expect(own).toMatchObject({
      current: { switches24h: 2, forgoneUsd: expect.any(Number) },
      policy: { tauReplica: 0.45, tauAdmit: 0.7 },
      interruptions: [{ instanceType: 'm5.large' }],
    })
    const risk = outcome.trace.find(({ stage }) => stage === 'risk')
    expect(risk?.dropped).toMatchObject([{ id: 'm5.large@ap-south-1b', code: 'POOL_COOLDOWN' }])
  })

  test('after three moves in a day it stays, asked about or in a cycle', async () => {
    await moved(3)
    const { outcome } = await evaluate({ ...HERE, instanceId: 'i-0a' })
    expect(outcome.decision.code).toBe('TOO_MANY_SWITCHES')
    const cycle = await batch.run('ada')
    expect((await inputOf('cycle_id', cycle.id)).current?.switches24h).toBe(3)
  })

  test('what staying has cost counts in the pool where it runs, and nowhere else', async () => {
    await batch.run('schedule')
    await time.advance(hours(1) / 4)
    await batch.run('schedule')
    const forgone = async (place: typeof HERE) => {
      const { id } = await evaluate({ ...place, instanceId: 'i-0a' })
      return (await inputOf('id', id)).current?.forgoneUsd
    }
    expect(await forgone(HERE)).toBeGreaterThan(0)
    expect(await forgone({ ...HERE, availabilityZone: 'ap-south-1b' })).toBe(0)
  })

  test('a pool alone has own interruptions, and neither a history nor a share of the budget', async () => {
    await notice('a', 'i-0a', time.clock.now() - hours(7))
    const { id } = await evaluate({ ...HERE, instanceId: undefined })
    expect(await inputOf('id', id)).toMatchObject({
      current: { instanceId: 'none', switches24h: 0, forgoneUsd: 0 },
      interruptions: [{ instanceType: 'c5.large' }],
      budget: { movesLeft: 1, heldBy: null },
      policy: { tauReplica: 0.3, tauAdmit: 0.7 },
    })
    await expect(evaluate({ ...HERE, instanceId: 'x' })).rejects.toMatchObject({ code: 'not_found' })
  })
})
