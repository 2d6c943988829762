import { microUsd } from '@understudy/shared/core/money'
import { hours, instant, minutes } from '@understudy/shared/core/time'
import type { Interval } from '@understudy/shared/market/interval'
import { evaluate } from '@understudy/shared/pipeline/pipeline'
import { inputOf, offer, placement } from '@understudy/shared/pipeline/testing'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import { createDecisionStore } from '../pipeline/pipeline.ts'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createRealisedSavings, type RealisedSavings } from './realised-savings.ts'
import { realisedBy } from './realised-sums.ts'
import { addModel } from './testing.ts'

const OLD = 'c5.large@ap-south-1a'
const NEW = 'm5.large@ap-south-1b'
const START = Date.UTC(2026, 0, 5)

describe.each(dialects)('savings of switches that happened, on %s', (dialect) => {
  let database: OpenDatabase
  let time: VirtualTime
  let savings: RealisedSavings
  /** Micro-dollars per hour; null is not known. */
  let price: Record<string, number | null>
  beforeEach(async () => {
    database = await testDatabase(dialect)
    await addModel(database, 'model-a')
    time = createVirtualTime(START)
    price = { [OLD]: 50_000, [NEW]: 30_000 }
    savings = createRealisedSavings({
      ...{ db: database.db, clock: time.clock, log: pino({ level: 'silent' }) },
      market: {
        samples: () => Promise.resolve([]),
        history: (pool: string, range: Interval) => {
          const micro = price[pool] ?? null
          if (micro === null) return Promise.resolve({ changes: [], covered: [] })
          return Promise.resolve({ changes: [{ at: range.from, price: microUsd(micro) }], covered: [range] })
        },
      },
      onDemandOf: () => microUsd(100_000),
      switchCost: microUsd(10_000),
    })
    await addAgent(database.db, { id: 'shop' })
    await addInstance(database.db, {
      ...{ id: 'i-0old', agent_id: 'shop', pool_id: OLD, launched_at: START - hours(48) },
    })
  })
  afterEach(() => database.close())

  /** Decided now, and the replica of it takes over ten minutes later; the old one ends after five more. */
  async function switched(made = true): Promise<string> {
    const { db } = database
    const input = inputOf(
      [offer('c5.large', 0.05), offer('m5.large', 0.03, { availabilityZone: 'ap-south-1b' })],
      {
        now: time.clock.now(),
        current: placement('c5.large', { instanceId: 'i-0old', launchedAt: instant(START - hours(48)) }),
        model: { version: 'model-a 1.0.0 (model-a)', decisionThreshold: null },
      },
    )
    const outcome = evaluate({
      ...input,
      offers: input.offers.map((one) => ({ ...one, priceAt: input.now })),
    })
    const decision = { instanceId: 'i-0old', targetId: 'shop', poolId: OLD, durationMs: 1 }
    const id = await createDecisionStore(db).add(input, outcome, { ...decision, level: 'live' })
    const begun = time.clock.now()
    await addInstance(db, { id: 'i-0new', agent_id: 'shop', pool_id: NEW, launched_at: time.clock.now() })
    await db
      .insertInto('replica_instances')
      .values({
        ...{ id: 'r1', agent_id: 'shop', instance_id: 'i-0new', type: 'manual', status: 'promoted' },
        ...{ pool_id: NEW, created_by: made ? `decision ${id}` : 'ada', is_active: 0, sync_percent: 100 },
        ...{ bytes_done: 0, bytes_total: 0, life_cycle: 'spot', created_at: time.clock.now() },
      })
      .execute()
    await time.advance(minutes(10))
    await moved('i-0old', 'i-0new', OLD, NEW)
    await db
      .insertInto('decision_actions')
      .values({
        ...{ decision_id: id, target_id: 'shop', engine: 'spot-optimize', actuator: 'agent', level: 'live' },
        ...{
          status: 'done',
          reason: 'it has moved',
          body: '{}',
          started_at: begun,
          ended_at: time.clock.now(),
        },
      })
      .execute()
    await time.advance(minutes(5))
    await db
      .updateTable('instances')
      .set({ terminated_at: time.clock.now() })
      .where('id', '=', 'i-0old')
      .execute()
    return id
  }

  let epoch = 1
  async function moved(from: string, to: string, fromPool: string, toPool: string): Promise<void> {
    epoch += 1
    await database.db
      .insertInto('instance_switches')
      .values({
        ...{ id: `s${epoch}`, agent_id: 'shop', epoch, switch_reason: 'manual', success: 1 },
        ...{ incident_id: null, old_instance_id: from, new_instance_id: to },
        ...{ old_pool_id: fromPool, new_pool_id: toPool, switched_at: time.clock.now() },
        ...{ old_instance_price: null, new_instance_price: null },
      })
      .execute()
  }

  test('are the prices that held, less what ran twice and the switch, beside what was projected', async () => {
    await switched()
    await time.advance(hours(6) - minutes(5))
    await savings.passOnce()
    expect(await realisedBy(database.db, 'model-a')).toEqual({
      ...{ switches: 1, open: 1, counted_hours: 6, unknown_hours: 0 },
      savings: expect.closeTo(6 * 0.02, 6),
      // Ten minutes of the new one before, five of the old one after.
      double_running_cost: expect.closeTo(0.03 / 6 + 0.05 / 12, 6),
      switch_cost: 0.01,
      net_savings: expect.closeTo(0.12 - 0.005 - 0.004167 - 0.01, 6),
      projected_savings: expect.any(Number),
    })
    // The price of the new pool rises: what was projected stays, what comes of it does not.
    const projected = (await realisedBy(database.db, 'model-a')).projected_savings
    expect(projected).toBeGreaterThan(0.1)
    price[NEW] = 60_000
    await time.advance(hours(30))
    await savings.passOnce()
    const after = await realisedBy(database.db, 'model-a')
    expect(after).toMatchObject({ open: 0, counted_hours: 24, savings: expect.closeTo(-24 * 0.01, 6) })
    expect(after.projected_savings).toBeCloseTo(projected * 4, 5)
    // It is settled: nothing changes it any more.
    price[NEW] = 1
    expect(await savings.passOnce()).toBe(0)
    expect(await realisedBy(database.db, 'model-a')).toEqual(after)
    expect(await realisedBy(database.db, 'model-b')).toMatchObject({ switches: 0, savings: 0 })
  })

  test('end when the agent moves on; a replica that was there before costs nothing', async () => {
    await switched(false)
    await time.advance(hours(3) - minutes(5))
    await addInstance(database.db, { id: 'i-0third', agent_id: 'shop', pool_id: OLD })
    await moved('i-0new', 'i-0third', NEW, OLD)
    await time.advance(hours(2))
    await savings.passOnce()
    expect(await realisedBy(database.db, 'model-a')).toMatchObject({
      ...{ switches: 1, open: 0, counted_hours: 3 },
      double_running_cost: expect.closeTo(0.05 / 12, 6),
    })
    const row = await database.db.selectFrom('realised_savings').selectAll().executeTakeFirstOrThrow()
    expect(row).toMatchObject({ ended: 'moved', model_id: 'model-a' })
  })

  test('wait for prices that are not known yet, and are settled without them in the end', async () => {
    await switched()
    price[OLD] = null
    await time.advance(hours(30))
    await savings.passOnce()
    expect(await realisedBy(database.db, 'model-a')).toMatchObject({ open: 1, counted_hours: 0, savings: 0 })
    await time.advance(hours(70))
    await savings.passOnce()
    expect(await realisedBy(database.db, 'model-a')).toMatchObject({
      open: 0,
      unknown_hours: expect.any(Number),
    })
  })

  test('a move that was decided and did not happen, or that only was a dry run, saves nothing', async () => {
    const id = await switched()
    await database.db.deleteFrom('instance_switches').execute()
    await savings.passOnce()
    expect(await realisedBy(database.db, 'model-a')).toMatchObject({ switches: 0 })
    await moved('i-0old', 'i-0new', OLD, NEW)
    await database.db.updateTable('decision_actions').set({ level: 'dry_run' }).execute()
    await savings.passOnce()
    expect(await realisedBy(database.db, 'model-a')).toMatchObject({ switches: 0 })
    // One that answered in the place of another is not the winner of that one's switches.
    await database.db.updateTable('decision_actions').set({ level: 'live' }).execute()
    await savings.passOnce()
    expect(await realisedBy(database.db, 'model-a')).toMatchObject({ switches: 1 })
    await database.db
      .insertInto('experiment_logs')
      .values({
        ...{ id, instance_id: 'shop', model_id: 'model-a', assigned_model_id: 'model-b', acted: 1 },
        ...{ fallback_reason: 'FALLBACK_USED', decision: 'SWITCH', execution_time: START },
        ...{ execution_duration_ms: 1, metadata: '{}' },
      })
      .execute()
    expect(await realisedBy(database.db, 'model-a')).toMatchObject({ switches: 0 })
  })
})
