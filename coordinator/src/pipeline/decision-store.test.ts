import { randomUUID } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import { hours, type Instant, plus } from '@understudy/shared/core/time'
import type { PipelineInput } from '@understudy/shared/pipeline/context'
import { evaluate } from '@understudy/shared/pipeline/pipeline'
import { inputOf, NOW, offer, placement } from '@understudy/shared/pipeline/testing'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { OpenDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
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
    await migrate(database.db)
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
    const body = zstdCompressSync('[]').toString('base64')
    await database.db.updateTable('decision_parts').set({ body }).execute()
    await expect(store.replay(id)).rejects.toMatchObject({ code: 'state_unreadable' })
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
