import { isAppError } from '@understudy/shared/core/app-error'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import type { Engine } from './engine.ts'
import { createRegistry } from './registry.ts'
import { createSelectedEngines, type SelectedEngines } from './selected-engines.ts'
import { createSelectionStore, type SelectionStore } from './selection-store.ts'

/** Two engines for the same decision, of which one takes a number. */
const engine = (id: string): Engine => ({
  ...{ id, name: id, version: '1.0.0', decision: 'spot-optimize', decides: '', description: '' },
  ...{ input: z.unknown(), output: z.unknown(), sample: null },
  config: z.strictObject({ limit: z.number().optional() }),
  decide: (input) => input,
  standing: () => ({ enabled: true, reason: '' }),
  measured: () => Promise.resolve({ last: null, agreementRate: null }),
})
const registry = createRegistry([engine('first_v1'), engine('second_v1')])
const [first, second] = registry.all as [Engine, Engine]

describe.each(dialects)('which engine counts, on %s', (dialect) => {
  let database: OpenDatabase
  let store: SelectionStore
  let selected: SelectedEngines
  const lines: { event?: string }[] = []
  const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const open = (configured: readonly string[] = []) =>
    createSelectedEngines({ registry, store, configured, log })

  beforeEach(async () => {
    database = await testDatabase(dialect)
    lines.length = 0
    store = createSelectionStore(database.db, createVirtualTime().clock)
    selected = open()
    await selected.load()
  })
  afterEach(() => database.close())

  const wish = (engineId: string, config?: Record<string, unknown>, expectedRevision?: number) => ({
    ...{ engineId, config, expectedRevision, dryRun: false },
  })
  const active = (of = selected) => of.activeFor('spot-optimize')?.id

  test('the configured one counts until another is selected, also after a start', async () => {
    expect(active()).toBe('first_v1')
    const other = open(['second_v1'])
    await other.load()
    expect(active(other)).toBe('second_v1')
    await other.select(wish('first_v1', { limit: 3 }), 'ada')
    const again = open(['second_v1'])
    await again.load()
    expect([active(other), active(again)]).toEqual(['first_v1', 'first_v1'])
    expect(again.configOf(first)).toEqual({ limit: 3 })
    expect(again.selectionOf(first)).toMatchObject({ by: 'ada', revision: 1 })
  })

  test('one counts at a time, and each keeps how it was set', async () => {
    await selected.select(wish('first_v1', { limit: 1 }), 'ada')
    const result = await selected.select(wish('second_v1', { limit: 2 }), 'ada')
    expect(result).toEqual({
      ...{ decision: 'spot-optimize', changed: true, dry_run: false, revision: 2 },
      before: { engine_id: 'first_v1', config: { limit: 1 } },
      after: { engine_id: 'second_v1', config: { limit: 2 } },
    })
    expect((await store.all()).map(({ engineId, active: counts }) => [engineId, counts])).toEqual([
      ['first_v1', false],
      ['second_v1', true],
    ])
    const back = await selected.select(wish('first_v1'), 'bob')
    expect(back).toMatchObject({ revision: 3, after: { config: { limit: 1 } } })
    expect(selected.configOf(second)).toEqual({ limit: 2 })
  })

  test('a dry run says what would change, and changes nothing', async () => {
    const result = await selected.select({ ...wish('second_v1', { limit: 2 }), dryRun: true }, 'ada')
    expect(result).toMatchObject({
      changed: true,
      dry_run: true,
      revision: 0,
      after: { engine_id: 'second_v1' },
    })
    expect([active(), await store.all()]).toEqual(['first_v1', []])
  })

  test('what was decided on an older look is refused, and so is the slower one of two at once', async () => {
    await selected.select(wish('first_v1', {}, 0), 'ada')
    const late = await selected.select(wish('second_v1', {}, 0), 'bob').catch((error: unknown) => error)
    expect(isAppError(late, 'conflict') && late.facts).toEqual({ revision: 1, selected_by: 'ada' })
    const both = await Promise.allSettled([
      selected.select(wish('first_v1', { limit: 1 }), 'ada'),
      selected.select(wish('first_v1', { limit: 2 }), 'bob'),
    ])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const refused = both.find(({ status }) => status === 'rejected') as PromiseRejectedResult
    expect(isAppError(refused.reason, 'conflict')).toBe(true)
    expect(active()).toBe('first_v1')
    expect(selected.revisionOf('spot-optimize')).toBe(2)
  })

  test('a configuration that the engine does not take is refused with the place', async () => {
    const refused = await selected
      .select(wish('first_v1', { limit: 'x', more: 1 }), 'ada')
      .catch((e: unknown) => e)
    const pointers = isAppError(refused, 'input_invalid')
      ? refused.errors.map(({ pointer }) => pointer)
      : refused
    expect(pointers).toEqual(['/config/limit', '/config/more'])
    expect(await store.all()).toEqual([])
  })

  test('an engine that this version does not have gives way to one that is there', async () => {
    const gone = { engineId: 'gone_v9', decision: 'spot-optimize', config: {}, seen: 0, actor: 'ada' }
    await store.select(gone)
    const again = open(['second_v1'])
    await again.load()
    expect(active(again)).toBe('second_v1')
    expect(lines).toMatchObject([{ event: 'engine.not_there', engine: 'gone_v9', instead: 'second_v1' }])
    await again.select(wish('first_v1'), 'ada')
    expect(active(again)).toBe('first_v1')
  })

  test('what another version has stored and this one cannot read is as if nothing had been set', async () => {
    const unread = {
      engineId: 'first_v1',
      decision: 'spot-optimize',
      config: { limit: 'x' },
      seen: 0,
      actor: 'ada',
    }
    await store.select(unread)
    const again = open()
    await again.load()
    expect(again.configOf(first)).toEqual({})
    expect(lines).toMatchObject([{ event: 'engine.config_unreadable', engine: 'first_v1' }])
  })
})

test.each([
  ['nothing_v1', 'there is no engine nothing_v1'],
  ['bin-pack', 'no engine for bin-pack is part of this version yet'],
])('%s is not there, and what is there is said', (id, message) => {
  expect(() => registry.get(id)).toThrow(message)
  expect(registry.noDecision('bin-pack')).toMatchObject({
    code: 'not_found',
    message: 'no engine for bin-pack is part of this version yet',
    facts: { engines: [{ engine_id: 'first_v1' }, { engine_id: 'second_v1' }] },
  })
  expect(registry.noDecision('evacuation').message).toBe('there is no decision evacuation')
})
