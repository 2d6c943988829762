import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { ModelAlertRow, ModelRow, PredictionBlockRow } from '../storage/database.ts'
import { createDriftRollback, lossDifference, PREVIOUS_SHADOW } from './drift-rollback.ts'
import type { ServedModel } from './served-model.ts'

const HALF_DAY = 12 * 3_600_000
const OPENED = 1000 * HALF_DAY + 5

const block = (model: string, i: number, brier: number, rows = 100): PredictionBlockRow => ({
  ...{ model_id: model, block_at: (1001 + Math.floor(i / 4)) * HALF_DAY, pool_group: `g${i % 4}` },
  ...{ rows, positives: 1, brier },
})
/** Losses that vary from block to block, those of the version of before by `less` lower. */
const bothSaid = (count: number, less: number): PredictionBlockRow[] =>
  Array.from({ length: count }, (_, i) => {
    const brier = 0.1 + 0.02 * Math.sin(i)
    return [block('model-now', i, brier), block('model-before', i, brier - less + 0.005 * Math.cos(i))]
  }).flat()

const alert = { model_id: 'model-now', kind: 'LOSS_DRIFT', severity: 'alert', said: 'its loss has risen' }

function start(
  options: {
    readonly isAutomatic?: boolean
    readonly blocks?: readonly PredictionBlockRow[]
    readonly alert?: Partial<ModelAlertRow> | null
    readonly former?: readonly string[]
    readonly shadow?: string
  } = {},
) {
  const aliases = new Map<string, string[]>(options.shadow ? [[options.shadow, [PREVIOUS_SHADOW]]] : [])
  const done: string[] = []
  const former = (options.former ?? ['model-before']).map((id) => ({ id }) as ModelRow)
  const { alert: changed = {} } = options
  const rows = changed === null ? [] : [{ ...alert, opened_at: OPENED, ...changed } as ModelAlertRow]
  const rollback = createDriftRollback({
    isAutomatic: options.isAutomatic ?? true,
    serving: { active: { id: 'model-now' } as ServedModel },
    alerts: { open: () => rows },
    blocks: (id, from) =>
      Promise.resolve(
        (options.blocks ?? []).filter(({ model_id, block_at: at }) => model_id === id && at >= from),
      ),
    versions: {
      store: { former: () => Promise.resolve(former), aliases: () => Promise.resolve(aliases) },
      registry: {
        assign(alias, id) {
          done.push(`${alias} is ${id}`)
          aliases.clear()
          if (id) aliases.set(id, [alias])
          return Promise.resolve()
        },
        activate(id, actor, reason) {
          done.push(`${actor} activates ${id}: ${reason}`)
          return Promise.reject(new Error('the rest of a result is not looked at'))
        },
      },
    },
    clock: createVirtualTime().clock,
    log: pino({ level: 'silent' }),
  })
  const tick = () => rollback.tick().catch((error: Error) => error.message)
  return { tick, done }
}

describe('auto_rollback_on_drift', () => {
  test('off: nothing goes back, and nothing is asked in the shadow any more', async () => {
    const { tick, done } = start({ isAutomatic: false, blocks: bothSaid(40, 0.05), shadow: 'model-before' })
    expect(await tick()).toBe('auto_rollback_on_drift is off')
    await tick()
    expect(done).toEqual(['shadow:previous is null'])
  })

  test('on: the version of before is asked in the shadow, once', async () => {
    const { tick, done } = start({ alert: null })
    expect(await tick()).toBe('model-now is not on alert')
    await tick()
    expect(done).toEqual(['shadow:previous is model-before'])
    const none = start({ former: [] })
    expect(await none.tick()).toBe('there is no version before model-now')
    expect(none.done).toEqual([])
  })

  test('on alert, and better by more than chance: it goes back, and the ledger says why', async () => {
    const { tick, done } = start({ blocks: bothSaid(30, 0.05), shadow: 'model-before' })
    await tick()
    expect(done).toEqual([
      expect.stringMatching(
        /^coordinator activates model-before: auto_rollback_on_drift: its loss has risen; .* lower by 0\.0\d+, 0\.0\d+ to 0\.0\d+, over 30 blocks/,
      ),
    ])
  })

  test.each([
    ['too few blocks', { blocks: bothSaid(29, 0.05) }, '29 of 30 blocks'],
    ['no better', { blocks: bothSaid(200, 0) }, 'does not do better for certain'],
    [
      'a little better, which may be chance',
      { blocks: bothSaid(30, 0.001) },
      'does not do better for certain',
    ],
    ['worse', { blocks: bothSaid(60, -0.05) }, 'does not do better for certain'],
    ['a warning only', { alert: { severity: 'warn' } }, 'not on alert'],
    ['an alert on a feature', { alert: { kind: 'FEATURE_DRIFT' } }, 'not on alert'],
    ['an alert on another model', { alert: { model_id: 'model-x' } }, 'not on alert'],
    [
      'what both said before the alert',
      { blocks: bothSaid(60, 0.05), alert: { opened_at: 2e12 } },
      '0 of 30',
    ],
  ])('%s: it stays', async (_, options, why) => {
    const { tick, done } = start({ shadow: 'model-before', blocks: bothSaid(60, 0.05), ...options })
    expect(await tick()).toContain(why)
    expect(done).toEqual([])
  })
})

test('blocks count where both were asked alike', () => {
  const first = [block('a', 0, 0.3), block('a', 1, 0.3), block('a', 2, 0.3)]
  const second = [block('b', 0, 0.1), block('b', 1, 0.1, 94), block('b', 3, 0.1)]
  const { n, mean } = lossDifference(first, second)
  expect(n).toBe(1)
  expect(mean).toBeCloseTo(0.2, 12)
})
