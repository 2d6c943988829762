import { setImmediate } from 'node:timers/promises'
import { AppError } from '@understudy/shared/core/app-error'
import { type Clock, hours, minutes } from '@understudy/shared/core/time'
import { parsePool, regionOf } from '@understudy/shared/market/pool'
import { familyOf } from '@understudy/shared/market/pool-groups'
import { type Accuracy, accuracyOf, type Ratio } from '@understudy/shared/models/accuracy'
import type { AccuracyWindow, Performance } from '@understudy/shared/protocol/predictions'
import type { Kysely, ModelRow, Schema } from '../storage/database.ts'
import { BLOCK } from './labels.ts'
import { type ModelStore, manifestOf, noModel, toTime } from './model-store.ts'

/** Beyond this many labelled rows only every second, third… run is looked at: rows of one block say the same anyway. */
const MOST_ROWS = 200_000
const KEPT = minutes(5)
const LENGTHS = { '24h': hours(24), '7d': hours(24 * 7), '28d': hours(24 * 28) } as const

/** How good a model has been, from predictions whose horizon has passed. */
export interface PerformanceBook {
  /** @param id of a version. @throws AppError `not_found`, `not_ready` when it was never active */
  of(id: string, window: AccuracyWindow): Promise<Performance>
}

interface Row {
  readonly pool: number
  readonly at: number
  readonly p: number
  readonly label: number
}

/** Of every so many runs; the counts are of those as well. */
interface Looked {
  readonly rows: readonly Row[]
  readonly pending: number
  readonly unlabelled: number
  readonly every: number
}

export function createPerformanceBook(
  db: Kysely<Schema>,
  models: Pick<ModelStore, 'find'>,
  clock: Clock,
): PerformanceBook {
  const known = new Map<string, { readonly until: number; readonly value: Promise<Performance> }>()

  async function measure(row: ModelRow, window: AccuracyWindow): Promise<Performance> {
    const now = clock.now()
    const manifest = manifestOf(row)
    const from = window === 'activation' ? activationOf(row) : now - LENGTHS[window]
    const { rows, pending, unlabelled, every } = await read(row.id, from)
    const pools = new Map(
      (await db.selectFrom('pools').select(['id', 'pool_id']).execute()).map(({ id, pool_id }) => {
        const pool = parsePool(pool_id)
        return [id, { region: regionOf(pool.availabilityZone), family: familyOf(pool) }] as const
      }),
    )
    // One after the other, so that nothing waits for hundreds of thousands of rows.
    const judge = async (some: readonly Row[]) => {
      await setImmediate()
      return accuracyView(accuracyOf(columnsOf(some), manifest.decision_threshold))
    }
    const by = async (part: 'region' | 'family') => {
      const groups = Map.groupBy(rows, ({ pool }) => pools.get(pool)?.[part] ?? '')
      const judged: Record<string, Performance['all']> = {}
      for (const name of [...groups.keys()].sort()) judged[name] = await judge(groups.get(name) ?? [])
      return judged
    }
    return {
      ...{ model_id: row.id, name: row.name, version: row.version, window },
      ...{ from: toTime(from), to: toTime(now), pending, unlabelled, every },
      all: await judge(rows),
      by_region: await by('region'),
      by_family: await by('family'),
    }
  }

  async function read(modelId: string, from: number): Promise<Looked> {
    const runs = await db
      .selectFrom('prediction_runs')
      .select(['id', 'pools'])
      .where('model_id', '=', modelId)
      .where('at', '>=', from)
      .orderBy('at')
      .execute()
    const every = Math.max(1, Math.ceil(runs.reduce((sum, run) => sum + run.pools, 0) / MOST_ROWS))
    const looked = { rows: [] as Row[], pending: 0, unlabelled: 0, every }
    for (const { id } of runs.filter((_, i) => i % every === 0)) {
      const some = await db
        .selectFrom('predictions_log')
        .select(['pool', 'at', 'p', 'label', 'label_reason'])
        .where('run', '=', id)
        .execute()
      for (const row of some)
        if (row.label !== null) looked.rows.push(row as Row)
        else if (row.label_reason === null) looked.pending += 1
        else looked.unlabelled += 1
      await setImmediate()
    }
    return looked
  }

  return {
    async of(id, window) {
      const row = await models.find(id)
      if (!row) throw noModel(id)
      const key = `${id} ${window}`
      const now = clock.now()
      for (const [name, { until }] of known) if (until <= now) known.delete(name)
      const ready = known.get(key)
      if (ready) return ready.value
      const value = measure(row, window)
      known.set(key, { until: now + KEPT, value })
      value.catch(() => known.delete(key))
      return value
    },
  }
}

function activationOf({ id, activated_at: at }: ModelRow): number {
  if (at !== null) return at
  throw new AppError('not_ready', `${id} was never active`, { hint: 'Ask for window=24h, 7d or 28d.' })
}

const columnsOf = (rows: readonly Row[]) => ({
  p: Float64Array.from(rows, ({ p }) => p),
  y: Uint8Array.from(rows, ({ label }) => label),
  block: Float64Array.from(rows, ({ pool, at }) => Math.floor(at / BLOCK) * 1e6 + pool),
})

const ratioView = ({ value, low, high, why }: Ratio): Ratio => ({ value, low, high, why })

const accuracyView = (a: Accuracy): Performance['all'] => ({
  ...{ rows: a.rows, positives: a.positives, threshold: a.threshold, why: a.why },
  ...{ effective_n: a.effectiveN, effective_positives: a.effectivePositives },
  ...{ tp: a.tp, fp: a.fp, fn: a.fn, tn: a.tn },
  precision: ratioView(a.precision),
  recall: ratioView(a.recall),
  fdr: ratioView(a.fdr),
  fpr: ratioView(a.fpr),
  fnr: ratioView(a.fnr),
  base_rate: ratioView(a.baseRate),
  ...{ f1: a.f1, auc: a.auc, brier: a.brier, log_loss: a.logLoss, ece: a.ece },
})
