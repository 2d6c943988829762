import { hours, instant, minutes } from '@understudy/shared/core/time'
import type { Offer } from '@understudy/shared/pipeline/context'
import type { Order } from '@understudy/shared/pipeline/preconditions'
import type { PoolView } from '@understudy/shared/protocol/market'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createActionStore } from './action-store.ts'
import type { ActionResult } from './actuators/actuator.ts'
import { type Batch, type Cycle, createBatch } from './batch.ts'
import { createDecisionStore, type DecisionStore } from './decision-store.ts'
import type { RiskModel } from './evaluations.ts'
import { createInstanceConfigs, type InstanceConfigs } from './instance-configs.ts'
import { createPolicies } from './pipeline-input.ts'
import { createTargets, openSignals, type Targets } from './targets.ts'
import { typeFacts } from './type-facts.ts'

/** What each type costs; all are in one zone but the one to go to. */
const prices: Record<string, number> = {}

describe.each(dialects)('a cycle of decisions on %s', (dialect) => {
  let database: OpenDatabase
  let time: VirtualTime
  let configs: InstanceConfigs
  let store: DecisionStore
  let targets: Targets
  let batch: Batch
  let asked: number[]
  let submitted: Order[]
  let failing: string | null
  let refused: string | null
  let allowed: boolean
  beforeEach(async () => {
    database = await testDatabase(dialect)
    const { db } = database
    time = createVirtualTime()
    Object.assign(prices, { 'c5.large@ap-south-1a': 0.05, 'm5.large@ap-south-1b': 0.03 })
    asked = []
    submitted = []
    failing = null
    refused = null
    allowed = true
    configs = createInstanceConfigs(db, time.clock)
    store = createDecisionStore(db)
    targets = createTargets(db, time.clock)
    batch = createBatch({
      clock: time.clock,
      targets,
      configs,
      store,
      model,
      policyOf: createPolicies(),
      sourcesOf: (region) => {
        if (region !== 'ap-south-1')
          return Promise.reject(new Error(`the prices of ${region} cannot be read`))
        const sources = { pools: pools(), offered: [], factsOf: typeFacts([]) }
        return Promise.resolve({ ...sources, interruptionOf: () => 0.001 })
      },
      rebalanceProbabilityOf: () => Promise.resolve(0.4),
      voluntaryMovesAllowed: () => ({ allowed, reason: 'the scores drift' }),
      submit,
      onCycle: () => undefined,
    })
  })
  afterEach(() => database.close())

  const model: RiskModel = {
    score(offers: readonly Offer[]) {
      asked.push(offers.length)
      if (failing !== null) return Promise.resolve({ offers, model: null, modelFailure: failing })
      const scored = offers.map((offer) => ({ ...offer, instability12h: 0.01 }))
      return Promise.resolve({
        offers: scored,
        model: { version: 'm@1', decisionThreshold: null },
        modelFailure: null,
      })
    },
  }

  const pools = (): PoolView[] =>
    Object.entries(prices).map(
      ([pool_id, spot_price]) =>
        ({
          ...{ pool_id, spot_price, price_at: new Date(time.clock.now()).toISOString() },
          ...{ on_demand_price: 0.1, interruption_band: 0 },
        }) as PoolView,
    )

  /** What a live order begins goes on for ever. */
  async function submit(order: Order): Promise<ActionResult> {
    submitted.push(order)
    if (order.targetId === refused) throw new Error('it cannot be written down')
    const result: ActionResult = {
      status: order.level === 'live' ? 'running' : 'would_act',
      reason: 'as told',
    }
    if (order.level === 'live') await createActionStore(database.db).begin(order, result, time.clock.now())
    return result
  }

  async function agents(...ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      await addAgent(database.db, { id, instance_id: `i-0${id}`, auto_switch_enabled: 1 })
      await addInstance(database.db, {
        ...{ id: `i-0${id}`, agent_id: id, pool_id: 'c5.large@ap-south-1a' },
        launched_at: time.clock.now() - hours(48),
      })
    }
  }

  const decisionsOf = async (cycle: Cycle) =>
    [...(await store.list({ limit: 100, cycleId: cycle.id }))].sort((a, b) =>
      (a.target_id ?? '') < (b.target_id ?? '') ? -1 : 1,
    )

  test('the whole fleet with one question to the model; by itself nothing begins, and each can be made again', async () => {
    await agents('a', 'b', 'c')
    const cycle = await batch.run('schedule')
    expect(cycle).toMatchObject({ targets: 3, decisions: { SWITCH: 3 }, acted: 0, skipped: [] })
    expect(asked).toEqual([2])
    const decisions = await decisionsOf(cycle)
    expect(decisions).toMatchObject(
      ['a', 'b', 'c'].map((id) => ({
        ...{
          target_id: id,
          instance_id: `i-0${id}`,
          decision: 'SWITCH',
          code: 'CHEAPER',
          model_version: 'm@1',
        },
        ...{ target_pool_id: 'm5.large@ap-south-1b', level: 'dry_run', actuator: 'plan' },
      })),
    )
    for (const { id } of decisions) expect((await store.replay(id)).same).toBe(true)
    expect(submitted.map(({ targetId, level }) => `${targetId} ${level}`)).toEqual([
      'a dry_run',
      'b dry_run',
      'c dry_run',
    ])
  })

  test('who acts shares the budget, who does not takes nothing of it', async () => {
    await agents('a', 'b', 'c')
    for (const id of ['b', 'c']) await configs.put(id, { level: 'live' }, 'ada')
    const cycle = await batch.run('ada')
    expect(cycle).toMatchObject({ budget: 1, acted: 1, by: 'ada', decisions: { SWITCH: 2, STAY: 1 } })
    const decisions = await decisionsOf(cycle)
    expect(decisions.map(({ code }) => code)).toEqual(['CHEAPER', 'CHEAPER', 'NO_BUDGET'])
    for (const { id } of decisions) expect((await store.replay(id)).same).toBe(true)
    // What is under way is down, and holds its target.
    const next = await batch.run('ada')
    expect(next.budget).toBe(0)
    expect((await decisionsOf(next)).map(({ code }) => code)).toEqual([
      'NO_BUDGET',
      'SUPERSEDED_BY',
      'NO_BUDGET',
    ])
  })

  test('an agent whose automatic switches are off takes nothing of the budget either', async () => {
    await agents('a', 'b')
    for (const id of ['a', 'b']) await configs.put(id, { level: 'live' }, 'ada')
    await database.db.updateTable('agents').set({ auto_switch_enabled: 0 }).where('id', '=', 'a').execute()
    const codes = (await decisionsOf(await batch.run('ada'))).map(({ code }) => code)
    expect(codes).toEqual(['CHEAPER', 'CHEAPER'])
  })

  test('what staying costs is remembered until it has cost what the move does; another primary begins anew', async () => {
    await agents('a')
    prices['m5.large@ap-south-1b'] = 0.047
    const codes: (string | undefined)[] = []
    for (let cycle = 0; cycle < 40; cycle++) {
      codes.push((await decisionsOf(await batch.run('schedule')))[0]?.code)
      if (codes.at(-1) !== 'BELOW_HYSTERESIS') break
      await time.advance(minutes(5))
    }
    // The gain is $0.003 an hour, the move costs 10 minutes at $0.047: $0.0078, which takes 2.6 h.
    expect(codes.at(-1)).toBe('PATIENCE_SPENT')
    expect(codes.length).toBeGreaterThan(28)
    expect(codes.length).toBeLessThan(36)
    const { db } = database
    await addInstance(db, { id: 'i-0x', agent_id: 'a', pool_id: 'c5.large@ap-south-1a', launched_at: 0 })
    await db.updateTable('agents').set({ instance_id: 'i-0x' }).execute()
    expect((await targets.one('a'))?.remembered).toEqual({ forgoneUsd: 0, at: null, handledSignals: [] })
    expect((await decisionsOf(await batch.run('schedule')))[0]?.code).toBe('BELOW_HYSTERESIS')
  })

  test('without a model nothing moves of its own accord, and it says so', async () => {
    await agents('a')
    await configs.put('a', { level: 'live' }, 'ada')
    failing = 'the process has ended'
    const [decision] = await decisionsOf(await batch.run('schedule'))
    expect(decision).toMatchObject({
      ...{ decision: 'STAY', code: 'ADVISOR_FALLBACK', risk_source: 'ADVISOR_FALLBACK' },
      reason: expect.stringContaining('the process has ended'),
    })
    failing = null
    await configs.put('a', { familyStress: false }, 'ada')
    expect(await decisionsOf(await batch.run('schedule'))).toMatchObject([{ code: 'ADVISOR_FALLBACK' }])
    expect(submitted).toEqual([])
  })

  test('a signal of AWS is answered once', async () => {
    await agents('a')
    const at = time.clock.now()
    await database.db
      .insertInto('spot_interruption_events')
      .values({
        ...{ id: crypto.randomUUID(), agent_id: 'a', instance_id: 'i-0a', signal_type: 'termination-notice' },
        ...{ trigger: 'notice', detected_at: at, deadline_at: at + 1000, seen_via: 'test' },
        ...{ response_action: '', outcome: '', outcome_reason: '', failover_completed: 0, old_epoch: 1 },
      })
      .execute()
    await batch.run('schedule')
    const second = await batch.run('schedule')
    expect(submitted).toMatchObject([{ decision: 'EVACUATE', kind: 'EVACUATE', engine: 'evacuation' }])
    expect(await decisionsOf(second)).toMatchObject([
      { decision: 'EVACUATE', code: 'ALREADY_HANDLED', action: null },
    ])
  })

  test('what AWS recommends counts for two hours, though failover has answered it at once', async () => {
    await agents('a')
    const at = time.clock.now()
    const told = { id: crypto.randomUUID(), agent_id: 'a', instance_id: 'i-0a', trigger: 'rebalance' }
    await database.db
      .insertInto('spot_interruption_events')
      .values({
        ...{ ...told, signal_type: 'rebalance-recommendation', detected_at: at, closed_at: at + 5 },
        ...{ response_action: '', outcome: 'no-action', outcome_reason: '', failover_completed: 0 },
        ...{ seen_via: 'test', old_epoch: 1 },
      })
      .execute()
    expect(await openSignals(database.db, 'i-0a', time.clock.now())).toHaveLength(1)
    expect((await targets.one('a'))?.openIncident).toBeNull()
    const codes: (string | undefined)[] = []
    for (let cycle = 0; cycle < 3; cycle++) {
      codes.push((await decisionsOf(await batch.run('schedule')))[0]?.code)
      await time.advance(minutes(61))
    }
    expect(codes).toEqual(['SIGNAL_REBALANCE', 'ALREADY_HANDLED', 'CHEAPER'])
    expect(submitted.map(({ decision }) => decision)).toEqual(['DRAIN', 'SWITCH'])
  })

  test('what is wrong with one agent keeps nobody else from a decision or an action', async () => {
    await agents('a', 'b', 'c')
    const far = { id: 'i-0far', agent_id: 'a', pool_id: 'c5.large@eu-west-1a' }
    await addInstance(database.db, far)
    await database.db.updateTable('agents').set({ instance_id: 'i-0far' }).where('id', '=', 'a').execute()
    refused = 'b'
    const cycle = await batch.run('schedule')
    expect(cycle.skipped).toEqual([{ target: 'a', reason: 'the prices of eu-west-1 cannot be read' }])
    expect(cycle.actions.map(({ target, status, reason }) => [target, status, reason])).toEqual([
      ['b', 'failed', 'it cannot be written down'],
      ['c', 'would_act', 'as told'],
    ])
  })

  test('what cannot be decided is named; two cycles at once are one too many', async () => {
    await agents('a', 'b')
    await addInstance(database.db, { id: 'i-0odd', agent_id: 'b', pool_id: 'x9.huge@ap-south-1a' })
    await database.db.updateTable('agents').set({ instance_id: 'i-0odd' }).where('id', '=', 'b').execute()
    await configs.put('a', { enabled: false }, 'ada')
    const first = batch.run('schedule')
    await expect(batch.run('ada')).rejects.toMatchObject({ code: 'busy' })
    expect((await first).skipped).toEqual([
      { target: 'a', reason: 'decisions for it are switched off' },
      { target: 'b', reason: 'nothing is known of the instance type x9.huge' },
    ])
    expect(await batch.run('ada')).toMatchObject({ at: instant(time.clock.now()), targets: 2, decisions: {} })
  })
})
