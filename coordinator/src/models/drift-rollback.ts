import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, minutes } from '@understudy/shared/core/time'
import { type Interval, intervalOf, type Sequence } from '@understudy/shared/experiments/confidence-sequence'
import type { Logger } from 'pino'
import type { PredictionBlockRow } from '../storage/database.ts'
import type { ModelAlerts } from './alerts.ts'
import type { LabelStore } from './label-store.ts'
import type { ModelStore } from './model-store.ts'
import type { Registry } from './registry.ts'
import type { Serving } from './serving.ts'

/** Under which the version of before is asked beside the active one. */
export const PREVIOUS_SHADOW = 'shadow:previous'

const EVERY = minutes(30)
const ACTOR = 'coordinator'
/** As experiments in the shadow are judged: an interval that may be looked at after every block. */
const SEQUENCE: Sequence = { alpha: 0.05, planned: 200 }
const FEWEST_BLOCKS = 30
/** Both have been asked in the same passes, but for a few: else the difference is one of times. */
const SAME_ROWS = 0.95

export interface DriftRollbackVersions {
  readonly store: Pick<ModelStore, 'former' | 'aliases'>
  readonly registry: Pick<Registry, 'assign' | 'activate'>
}

/**
 * Goes back to the version of before when the active one drifts and that one does better: `auto_rollback_on_drift`. While it
 * is on, the version of before is asked about the same pools, in the shadow. What has come of both since the alert is compared
 * block by block, and the loss of the one of before must be lower by an interval that holds however often one looks.
 */
export interface DriftRollback extends Service {
  /** What was done, and why, in a sentence. */
  tick(): Promise<string>
}

export function createDriftRollback(parts: {
  readonly isAutomatic: boolean
  readonly versions: DriftRollbackVersions
  readonly serving: Pick<Serving, 'active'>
  readonly alerts: Pick<ModelAlerts, 'open'>
  readonly blocks: LabelStore['blocks']
  readonly clock: Clock
  readonly log: Logger
}): DriftRollback {
  const { isAutomatic, serving, alerts, blocks, clock, log } = parts
  const { store, registry } = parts.versions

  async function shadow(id: string | null): Promise<void> {
    const now = [...(await store.aliases())].find(([, aliases]) => aliases.includes(PREVIOUS_SHADOW))?.[0]
    if ((now ?? null) !== id) await registry.assign(PREVIOUS_SHADOW, id, ACTOR, 'auto_rollback_on_drift')
  }

  async function tick(): Promise<string> {
    if (!isAutomatic) {
      await shadow(null)
      return 'auto_rollback_on_drift is off'
    }
    const { active } = serving
    if (!active) return 'no model is active'
    const [before] = await store.former()
    await shadow(before?.id ?? null)
    if (!before) return `there is no version before ${active.id}`
    const alert = alerts.open().find((row) => row.model_id === active.id && isDrift(row))
    if (!alert) return `${active.id} is not on alert`
    const from = alert.opened_at
    const difference = lossDifference(await blocks(active.id, from), await blocks(before.id, from))
    if (difference.n < FEWEST_BLOCKS)
      return `${difference.n} of ${FEWEST_BLOCKS} blocks since the alert are known of both`
    if (!(difference.lower > 0)) return `${before.id} does not do better for certain (${inWords(difference)})`
    const reason = `auto_rollback_on_drift: ${alert.said}; the version of before does better (${inWords(difference)})`
    await registry.activate(before.id, ACTOR, reason)
    log.error({
      event: 'model.rolled_back',
      from: active.id,
      to: before.id,
      reason: alert.kind,
      said: reason,
    })
    return reason
  }

  return {
    name: 'drift-rollback',
    tick,
    async run(signal) {
      let said = ''
      await everyPeriod(clock, EVERY, signal, async () => {
        try {
          const now = await tick()
          if (now !== said) log.debug({ event: 'model.drift_rollback', note: now })
          said = now
        } catch (error) {
          if (!isAppError(error)) log.error({ event: 'model.drift_rollback_failed', err: error })
          else log.warn({ event: 'model.drift_rollback_failed', why: messageOf(error) })
        }
      })
    },
  }
}

const isDrift = ({ kind, severity }: ReturnType<ModelAlerts['open']>[number]): boolean =>
  severity === 'alert' && (kind === 'SCORE_DRIFT' || kind === 'LOSS_DRIFT')

type Block = Pick<PredictionBlockRow, 'block_at' | 'pool_group' | 'rows' | 'brier'>

/** Brier loss of the first less that of the second, over the blocks in which both were asked alike. */
export function lossDifference(first: readonly Block[], second: readonly Block[]): Interval {
  const keyOf = ({ block_at: at, pool_group: group }: Block) => `${at} ${group}`
  const others = new Map(second.map((block) => [keyOf(block), block]))
  const differences = first.flatMap((block) => {
    const other = others.get(keyOf(block))
    if (!other) return []
    const rows = [block.rows, other.rows]
    return Math.min(...rows) < SAME_ROWS * Math.max(...rows) ? [] : [block.brier - other.brier]
  })
  return intervalOf(differences, SEQUENCE)
}

const inWords = ({ n, mean, lower, upper }: Interval): string =>
  `its Brier loss is lower by ${mean.toFixed(5)}, ${lower.toFixed(5)} to ${upper.toFixed(5)}, over ${n} blocks`
