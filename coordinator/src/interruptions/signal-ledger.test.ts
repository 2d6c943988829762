import { hours, type Instant, instant, minutes } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import type { Kysely } from '../storage/database.ts'
import { signalOutcomes } from '../storage/migrations/0011-signal-outcomes.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createInterruptions } from './interruptions.ts'
import { createSignalLedger, type SignalLedger } from './signal-ledger.ts'

const POOL = 'm5.large@us-east-1a'

describe.each(dialects)('the ledger of signals on %s', (dialect) => {
  let database: Awaited<ReturnType<typeof testDatabase>>
  let time: ReturnType<typeof createVirtualTime>
  let ledger: SignalLedger
  beforeAll(async () => {
    database = await testDatabase(dialect)
    await addAgent(database.db, { id: 'a' })
  }, 60_000)
  afterAll(() => database.close())
  beforeEach(async () => {
    for (const table of ['rebalance_signals', 'spot_interruption_events', 'instances'] as const)
      await database.db.deleteFrom(table).execute()
    for (const id of ['i-1', 'i-2', 'i-3', 'i-4'])
      await addInstance(database.db, { id, agent_id: 'a', pool_id: POOL })
    time = createVirtualTime()
    ledger = createSignalLedger(database.db, time.clock)
  })

  const now = () => time.clock.now()
  const open = (instanceId: string, actionAt: Instant | null, incidentId: string, on = ledger) =>
    on.open({ instanceId, agentId: 'a', poolId: POOL, incidentId, actionAt, detectedAt: now() })

  test('one recommendation is one line, whoever tells it again and however often', async () => {
    const at = now()
    expect(await open('i-1', at, 'one')).toEqual({ incidentId: 'one', isNew: true })
    expect(await open('i-1', at, 'two')).toEqual({ incidentId: 'one', isNew: false })
    expect(await open('i-1', null, 'three')).toEqual({ incidentId: 'one', isNew: false })
    const afterRestart = createSignalLedger(database.db, time.clock)
    expect(await open('i-1', at, 'four', afterRestart)).toEqual({ incidentId: 'one', isNew: false })
    const both = await Promise.all([open('i-2', at, 'five'), open('i-2', at, 'six', afterRestart)])
    expect(both.filter(({ isNew }) => isNew)).toHaveLength(1)
    expect(new Set(both.map(({ incidentId }) => incidentId)).size).toBe(1)
    await time.advance(minutes(5))
    expect(await open('i-1', now(), 'seven')).toEqual({ incidentId: 'seven', isNew: true })
    expect(await ledger.latest()).toHaveLength(3)
    const [newest] = await createSignalLedger(database.db, time.clock, 1).latest()
    expect(newest?.incidentId, 'no more than so many are read').toBe('seven')
  })

  test('what followed: a notice in time, one too late, none, and an end that nobody explains', async () => {
    for (const id of ['i-1', 'i-2', 'i-3', 'i-4']) await open(id, now(), `of ${id}`)
    const { db } = database
    await time.advance(minutes(30))
    await ledger.noticed('i-1', now())
    await ledger.noticed('i-1', instant(now() + 5000))
    await db.updateTable('instances').set({ terminated_at: now() }).where('id', '=', 'i-4').execute()
    const outcomes = async () =>
      Object.fromEntries((await ledger.latest()).map(({ instanceId, outcome }) => [instanceId, outcome]))
    expect(await outcomes()).toEqual({ 'i-1': 'followed', 'i-2': 'open', 'i-3': 'open', 'i-4': 'unknown' })
    await time.advance(hours(2))
    await ledger.noticed('i-2', now())
    expect(await outcomes()).toEqual({
      'i-1': 'followed',
      'i-2': 'not_followed',
      'i-3': 'not_followed',
      'i-4': 'unknown',
    })
    const [first] = (await ledger.ofPool(POOL, 10)).filter(({ instanceId }) => instanceId === 'i-1')
    expect(first?.leadMillis).toBe(minutes(30))
    expect(await ledger.ofPool(POOL, 2)).toHaveLength(2)
    expect(await ledger.ofPool('c5.large@us-east-1a', 2)).toEqual([])
  })

  test('a notice and a recommendation that come together belong together, whichever is heard first', async () => {
    const order = [ledger.noticed('i-1', now()), open('i-1', now(), 'one'), open('i-2', now(), 'two')]
    order.push(ledger.noticed('i-2', now()))
    await Promise.all(order)
    expect((await ledger.latest()).map(({ outcome, leadMillis }) => [outcome, leadMillis])).toEqual([
      ['followed', 0],
      ['followed', 0],
    ])
  })

  test('what is learnt from it: hits and misses count, what is open or unknown does not', async () => {
    const interruptions = createInterruptions({
      db: database.db,
      clock: time.clock,
      bandsOf: () => Promise.resolve(new Map()),
      multipliers: 'none',
    })
    const at = { instanceType: 'm5.xlarge', availabilityZone: 'us-east-1b' }
    for (const id of ['i-1', 'i-2', 'i-3']) await open(id, now(), `of ${id}`)
    await ledger.noticed('i-1', now())
    expect(await interruptions.afterSignal(at)).toMatchObject({ value: 0.4, level: null })
    await time.advance(hours(3))
    await open('i-4', now(), 'of i-4')
    expect(await interruptions.afterSignal(at)).toMatchObject({ value: 5 / 13, hits: 1, misses: 2 })
  })

  test('recommendations from before there was a ledger are taken over, with the notice that followed', async () => {
    const { db } = database
    const event = (id: string, instance: string, signal: string, at: number) => ({
      ...{
        id,
        agent_id: 'a',
        instance_id: instance,
        signal_type: signal,
        detected_at: at,
        trigger: 'notice',
      },
      ...{
        seen_via: '[]',
        response_action: '',
        outcome: '',
        outcome_reason: '',
        failover_completed: 0,
        old_epoch: 1,
      },
    })
    await db
      .insertInto('spot_interruption_events')
      .values([
        event('r1', 'i-1', 'rebalance-recommendation', 1000),
        event('n1', 'i-1', 'termination-notice', 5000),
        event('r2', 'i-2', 'rebalance-recommendation', 2000),
        event('n3', 'i-3', 'termination-notice', 2000),
      ])
      .execute()
    await db.schema.dropTable('rebalance_signals').execute()
    await signalOutcomes.up(db as unknown as Kysely<unknown>)
    expect(await ledger.latest()).toMatchObject([
      { instanceId: 'i-2', incidentId: 'r2', poolId: POOL, outcome: 'not_followed' },
      { instanceId: 'i-1', incidentId: 'r1', poolId: POOL, outcome: 'followed', leadMillis: 4000 },
    ])
  })
})
