import type { Clock } from '@understudy/shared/core/time'
import { hours, instant } from '@understudy/shared/core/time'
import { type Interval, lengthOf } from '@understudy/shared/market/interval'
import type {
  GapAnalysis as GapAnalysisView,
  GapFillTask,
  ModelData,
} from '@understudy/shared/protocol/model-data'
import type { ModelGapFillRow } from '../storage/database.ts'
import { daysOf, gapDays, type PoolGap, percentCovered, shareOf, type TypeInRegion } from './data-gap.ts'
import { etaOf, fetchesOf } from './gap-task-store.ts'
import type { GapAnalysis } from './model-gap-filler.ts'
import { manifestOf, toTime } from './model-store.ts'

/** Types and regions shown of an analysis, those that miss most first. */
const SHOWN = 200
const DAY = hours(24)

const unfillableView = (interval: Interval | null): ModelData['unfillable'] =>
  interval && { from: toTime(interval.from), to: toTime(interval.to), days: daysOf(interval) }

export function modelDataView({ model, gap, task }: GapAnalysis): ModelData {
  const now = gap.required.to
  return {
    readiness: gap.readiness,
    trained_until: model.trained_until,
    current_date: toTime(Math.floor(now / DAY) * DAY).slice(0, 10),
    gap_days: gapDays(model.trained_until, now),
    required_from: toTime(gap.required.from),
    unfillable: unfillableView(gap.unfillable),
    percent_covered: percentCovered(gap),
    pools: {
      required: gap.pools.length,
      complete: gap.pools.filter(({ missing, unfillable }) => missing.length + unfillable.length === 0)
        .length,
      current: gap.pools.filter(({ current }) => current).length,
      without_history: gap.withoutHistory.length,
    },
    task_id: task,
  }
}

/** On-demand prices are needed where a feature is made from them. */
const ON_DEMAND = new Set(['headroom', 'discount_depth'])

export function gapAnalysisView(analysis: GapAnalysis): GapAnalysisView {
  const { model } = analysis
  const needsOnDemand = manifestOf(model).input.features.some(({ name }) => ON_DEMAND.has(name))
  return {
    ...modelDataView(analysis),
    model_id: model.id,
    name: model.name,
    version: model.version,
    required_data_types: ['spot_prices', ...(needsOnDemand ? (['on_demand_prices'] as const) : [])],
    items: itemsOf(analysis).slice(0, SHOWN),
  }
}

function itemsOf({ gap }: GapAnalysis): GapAnalysisView['items'] {
  const inHours = (pools: readonly PoolGap[], of: (pool: PoolGap) => readonly Interval[]) =>
    Math.round(pools.reduce((sum, pool) => sum + lengthOf(of(pool)), 0) / hours(1))
  const groups = Map.groupBy(gap.pools, ({ instanceType, region }) => `${region} ${instanceType}`)
  const known = [...groups.values()].map((pools) => ({
    ...nameOf(pools[0] as PoolGap),
    pools: pools.length,
    missing_hours: inHours(pools, ({ missing }) => missing),
    unfillable_hours: inHours(pools, ({ unfillable }) => unfillable),
    offered: true,
  }))
  const other = (pair: TypeInRegion, offered: boolean) => ({
    ...nameOf(pair),
    pools: 0,
    missing_hours: offered ? Math.round(lengthOf([gap.required]) / hours(1)) : 0,
    unfillable_hours: 0,
    offered,
  })
  return [
    ...known,
    ...gap.unknown.map((pair) => other(pair, true)),
    ...gap.notOffered.map((pair) => other(pair, false)),
  ].sort((a, b) => b.missing_hours - a.missing_hours)
}

const nameOf = ({ instanceType, region }: TypeInRegion) => ({ instance_type: instanceType, region })

export function gapFillView(row: ModelGapFillRow, clock: Pick<Clock, 'now'>): GapFillTask {
  return {
    task_id: row.id,
    model_id: row.model_id,
    trigger: row.trigger as GapFillTask['trigger'],
    status: row.status as GapFillTask['status'],
    percent_complete: percentOf(row),
    records_filled: row.records,
    eta_seconds: etaOf(row, clock.now()),
    readiness: row.readiness as GapFillTask['readiness'],
    unfillable:
      row.unfillable_from === null || row.unfillable_to === null
        ? null
        : unfillableView({ from: instant(row.unfillable_from), to: instant(row.unfillable_to) }),
    fetches: fetchesOf(row).flatMap(({ id }) => (id === null ? [] : [id])),
    error: row.error,
    created_by: row.actor,
    created_at: toTime(row.created_at),
    ended_at: row.ended_at === null ? null : toTime(row.ended_at),
  }
}

/** While it goes on by the parts that are fetched; at the end by what is still missing. What cannot be filled counts. */
function percentOf(row: ModelGapFillRow): number {
  const whole = row.missing_ms + row.unfillable_ms
  if (row.left_ms !== null) return shareOf(row.missing_ms - row.left_ms, whole)
  return row.total === 0 ? 0 : Math.min(99.9, shareOf(row.missing_ms * (row.done / row.total), whole))
}
