import { randomUUID } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import { hours, type Instant, millis, minutes, plus } from '@understudy/shared/core/time'
import type { PipelineInput } from '@understudy/shared/pipeline/context'
import { evaluate } from '@understudy/shared/pipeline/pipeline'
import { inputOf, NOW, offer, placement } from '@understudy/shared/pipeline/testing'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createDecisionStore, type DecisionStore, digestOf, type NewDecision } from './decision-store.ts'

const offers = ['c5.large', 'm5.large', 'c5a.large', 'c6i.large'].map((type, i) =>
  offer(type, 0.03 + i / 100),
)
const inputs = [1, 2, 3].map((i) =>
  inputOf(offers, { current: placement('c5a.large', { instanceId: `i-00${i}` }) }),
)
const made = { instanceId: 'i-001', poolId: 'c5a.large@ap-south-1a', durationMs: 1 }

const decided = (input: PipelineInput, cycleId: string): NewDecision => ({
  id: randomUUID(),
  input,
  made: { ...made, instanceId: input.current?.instanceId ?? null, targetId: 'shop', cycleId },
  digest: digestOf(evaluate(input)),
})

describe.each(dialects)('decisions on %s', (dialect) => {
  let database: OpenDatabase
  let store: DecisionStore
  beforeEach(async () => {
    database = await testDatabase(dialect)
    store = createDecisionStore(database.db)
  })
  afterEach(() => database.close())

  const parts = () => database.db.selectFrom('decision_parts').selectAll().execute()

  test('what decisions have in common is stored once, and each comes out the same again', async () => {
    const cycle = inputs.map((input) => decided(input, 'one'))
    await store.addAll(cycle, NOW)
    // The offers and the policy; that nothing was interrupted is shorter than a reference to it.
    expect(await parts()).toHaveLength(2)
    const { input } = await database.db
      .selectFrom('decision_execution_log')
      .select('input')
      .limit(1)
      .executeTakeFirstOrThrow()
    expect(input).not.toContain('m5.large')
    for (const { id, digest } of cycle) {
      const { same, row, outcome } = await store.replay(id)
      expect(same).toBe(true)
      expect(row.decision).toBe(digest.decision.decision)
      expect(outcome.ranked).toHaveLength(4)
    }
    await store.addAll(
      inputs.map((again) => decided(again, 'two')),
      plus(NOW, hours(1)),
    )
    expect(await parts()).toHaveLength(2)
  })

  test('a part that was changed by hand is no input', async () => {
    const id = await store.add(inputs[0] as PipelineInput, evaluate(inputs[0] as PipelineInput), made)
    expect((await store.replay(id)).same).toBe(true)
    await database.db
      .updateTable('decision_parts')
      .set({ bytes: zstdCompressSync('[]') })
      .execute()
    await expect(store.replay(id)).rejects.toMatchObject({ code: 'state_unreadable' })
  })

  /** Of many pools, of which a few have another price in each cycle. */
  const cycleOf = (cycle: number): PipelineInput => {
    const now = plus(NOW, minutes(5 * cycle)) as Instant
    const many = Array.from({ length: 300 }, (_, i) =>
      offer(`m${5 + (i % 3)}.large`, (3000 + i * 7 + (i % 50 === cycle % 50 ? cycle : 0)) / 1e5, {
        availabilityZone: `ap-south-1${'abc'[i % 3]}`,
        priceAt: now,
        instability12h: Math.fround(((i * 7919) % 1000) / 7000),
      }),
    )
    return inputOf(many, { now, current: placement('m5.large') })
  }

  test('the offers of a cycle are stored by what they differ in from those of an earlier one', async () => {
    const ids: string[] = []
    for (let cycle = 0; cycle < 4; cycle++) {
      const input = cycleOf(cycle)
      ids.push(await store.add(input, evaluate(input), made))
    }
    const stored = (await parts()).filter(({ bytes }) => (bytes?.length ?? 0) > 250)
    const [whole] = stored.filter(({ base }) => base === null)
    const others = (await parts()).filter(({ base }) => base !== null)
    expect(others).toHaveLength(3)
    for (const { base, bytes } of others) {
      expect(base).toBe(whole?.sha256)
      expect(bytes?.length).toBeLessThan((whole?.bytes?.length ?? 0) / 4)
    }
    for (const id of ids) expect((await store.replay(id)).same).toBe(true)
    // Another start knows no base: what it stores can be read by itself.
    const next = cycleOf(9)
    const later = createDecisionStore(database.db)
    const id = await later.add(next, evaluate(next), made)
    expect((await parts()).filter(({ base }) => base !== null)).toHaveLength(3)
    expect((await store.replay(id)).same).toBe(true)
  })

  test('a part stays as long as one that is stored by it, and where it is gone the next is whole', async () => {
    const day = 24 * 60 * 60_000
    const days = (n: number) => ({ ...cycleOf(n), now: plus(NOW, millis(n * day)) })
    const short = createDecisionStore(database.db, 3)
    await short.add(days(0), evaluate(days(0)), made)
    const second = await short.add(days(2), evaluate(days(2)), made)
    // The first decision is forgotten; its offers are what those of the second one are read by.
    await short.addAll([], plus(NOW, millis(4 * day)))
    expect(await short.list({ limit: 5 })).toHaveLength(1)
    expect((await short.replay(second)).same).toBe(true)
    await database.db.deleteFrom('decision_parts').execute()
    const third = await short.add(days(4), evaluate(days(4)), made)
    expect((await short.replay(third)).same).toBe(true)
    await expect(short.replay(second)).rejects.toMatchObject({ code: 'state_unreadable' })
  })

  test('what an earlier version has stored as text can still be replayed', async () => {
    const input = cycleOf(0)
    const id = await store.add(input, evaluate(input), made)
    for (const { sha256, bytes } of await parts())
      await database.db
        .updateTable('decision_parts')
        .set({ body: Buffer.from(bytes ?? []).toString('base64'), bytes: null })
        .where('sha256', '=', sha256)
        .execute()
    expect((await store.replay(id)).same).toBe(true)
  })

  test('they are listed page by page, the latest first, by whatever is asked', async () => {
    const later = inputs.map((input) => ({ ...input, now: plus(NOW, hours(1)) }))
    await store.addAll(
      inputs.map((input) => decided(input, 'one')),
      NOW,
    )
    await store.addAll(
      later.map((input) => decided(input, 'two')),
      plus(NOW, hours(1)),
    )
    const all = await store.list({ limit: 10 })
    expect(all.map(({ cycle_id }) => cycle_id)).toEqual(['two', 'two', 'two', 'one', 'one', 'one'])
    const seen: string[] = []
    for (let after: { at: number; id: string } | undefined; ; ) {
      const page = await store.list({ limit: 2, after })
      seen.push(...page.map(({ id }) => id))
      after = page.at(-1)
      if (page.length < 2) break
    }
    expect(seen).toEqual(all.map(({ id }) => id))
    expect(await store.list({ limit: 10, cycleId: 'one', instanceId: 'i-002' })).toMatchObject([
      { instance_id: 'i-002', cycle_id: 'one', target_id: 'shop', result_status: null },
    ])
    expect(await store.list({ limit: 10, from: NOW + 1 })).toHaveLength(3)
    expect(await store.list({ limit: 10, to: NOW + 1, decision: 'EVACUATE' })).toEqual([])
  })

  test('after 30 days a decision is forgotten, and its parts with the last that has them', async () => {
    const late = plus(NOW, hours(31 * 24)) as Instant
    const [first] = inputs as [PipelineInput]
    const id = await store.add(first, evaluate(first), made)
    const newer = { ...first, now: late, offers: [offer('c5.large', 0.5, { priceAt: late })] }
    const kept = await store.add(newer, evaluate(newer), made)
    await expect(store.replay(id)).rejects.toMatchObject({ code: 'not_found' })
    expect((await store.replay(kept)).same).toBe(true)
    // One offer is a part of its own; the old offers have gone, and the policy is still in use.
    expect(await parts()).toHaveLength(2)
  })

  test('also when there are many, with what was done about them, and when the clock was ahead for a while', async () => {
    await store.addAll([], plus(NOW, hours(400 * 24)))
    const [first] = inputs as [PipelineInput]
    const many = Array.from({ length: 230 }, () => decided(first, 'many'))
    await store.addAll(many, NOW)
    const action = { target_id: 'shop', engine: 'spot-optimize', actuator: 'plan', level: 'dry_run' }
    const done = { ...action, status: 'would_act', reason: '', body: '{}', started_at: NOW }
    const ids = many.map(({ id }) => id)
    await database.db
      .insertInto('decision_actions')
      .values(ids.map((id, i) => ({ ...done, decision_id: id, ended_at: i === 0 ? null : NOW })))
      .execute()
    await store.addAll([], plus(NOW, hours(31 * 24)))
    expect(await store.list({ limit: 10 })).toEqual([])
    // One that is open still holds its target.
    const left = await database.db.selectFrom('decision_actions').select('decision_id').execute()
    expect(left).toEqual([{ decision_id: ids[0] }])
  })
})
