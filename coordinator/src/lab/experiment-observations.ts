import { type Clock, hours, type Instant, instant, plus } from '@understudy/shared/core/time'
import {
  type BlockSummary,
  blockIndex,
  blockStart,
  lastSettled,
  type PairedLoss,
  summarise,
} from '@understudy/shared/experiments/blocks'
import type { UnitDay } from '@understudy/shared/experiments/cost'
import type { ArmEvent } from '@understudy/shared/experiments/event-rates'
import type { Interval } from '@understudy/shared/market/interval'
import type { ModelStore } from '../models/models.ts'
import type { ExperimentUnitRow, Kysely, Schema } from '../storage/database.ts'
import type { Experiment, ExperimentStore } from './experiment-store.ts'
import type { ScoredRows } from './scored-rows.ts'

export const shadowAlias = (experimentId: string, arm: number): string => `shadow:${experimentId}.${arm}`

/** What one unit cost over a time in which it was in one arm; null where a price is not known. */
export type CostOf = (
  unitId: string,
  range: Interval,
) => Promise<{ readonly usd: number; readonly usefulHours: number } | null>

/** Takes in what there is to see of a running experiment, once for each block or day. */
export interface Observations {
  /** Up to `now`; what was settled before stays as it is. */
  settle(experiment: Experiment): Promise<void>
  /** Labels that came after their block was settled. */
  late(experiment: Experiment): Promise<number>
  /** Interruptions of units, each with how many units ran in both arms. @param treatment number of the arm */
  events(experiment: Experiment, treatment: number): Promise<ArmEvent[]>
}

export interface ObservationParts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly store: ExperimentStore
  readonly models: Pick<ModelStore, 'find'>
  readonly rows: ScoredRows | undefined
  readonly costOf: CostOf
}

/** After the horizon a price has an hour to become known, and its label another. */
const LABELLING = hours(2)
const DAY = hours(24)

export function createObservations(parts: ObservationParts): Observations {
  const { db, clock, store, models, rows, costOf } = parts

  async function manifestOf(id: string): Promise<{ horizon: number; threshold: number }> {
    const row = await models.find(id)
    const { target, decision_threshold: threshold } = JSON.parse(row?.manifest ?? '{"target":{}}') as {
      target: { horizon_h?: number }
      decision_threshold?: number
    }
    return { horizon: target.horizon_h ?? 12, threshold: threshold ?? 0.5 }
  }

  async function settleBlocks(experiment: Experiment): Promise<void> {
    if (!rows) return
    const { row, plan } = experiment
    const length = plan.blockLength
    const arms = await Promise.all(plan.arms.map(({ modelId }) => manifestOf(modelId)))
    const settle = plus(
      instant(hours(Math.max(...arms.map(({ horizon }) => horizon)))),
      LABELLING,
    ) as unknown as typeof length
    const first =
      row.settled_block === null ? blockIndex(startOf(experiment), length) + 1 : row.settled_block + 1
    const last = lastSettled(clock.now(), { length, settle })
    if (last < first) return
    const range = { from: blockStart(first, length), to: blockStart(last + 1, length) }
    const found = []
    for (const treatment of plan.arms.keys()) {
      if (treatment === 0) continue
      const paired = await rows.paired(aliasesOf(experiment, treatment), range)
      const summaries = summarise(paired, {
        length,
        settle,
        loss: plan.metric as PairedLoss,
        controlThreshold: arms[0]?.threshold ?? 0.5,
        treatmentThreshold: arms[treatment]?.threshold ?? 0.5,
      })
      for (const summary of summaries)
        found.push({
          treatment,
          block_index: summary.index,
          pool_group: summary.group,
          summary: JSON.stringify(summary),
        })
    }
    await store.settle(row.id, last, found)
  }

  /** Whole days of units that were in one arm all day long. */
  async function settleDays(experiment: Experiment): Promise<void> {
    const { row } = experiment
    const first = row.settled_block === null ? Math.ceil(startOf(experiment) / DAY) : row.settled_block + 1
    // A price may come an hour late.
    const last = Math.floor((clock.now() - hours(1)) / DAY) - 1
    if (last < first) return
    const units = await store.units(row.id)
    const found = []
    for (let day = first; day <= last; day += 1)
      for (const { unit_id: unit, arm } of units.filter((one) => covers(one, day))) {
        const cost = await costOf(unit, { from: instant(day * DAY), to: instant((day + 1) * DAY) })
        if (cost)
          found.push({ treatment: arm, block_index: day, pool_group: unit, summary: JSON.stringify(cost) })
      }
    await store.settle(row.id, last, found)
  }

  return {
    async settle(experiment) {
      const { kind, metric } = experiment.plan
      if (kind === 'shadow') await settleBlocks(experiment)
      else if (metric === 'cost_per_useful_hour') await settleDays(experiment)
    },
    async late(experiment) {
      const { row, plan } = experiment
      if (!rows || plan.kind !== 'shadow' || row.settled_block === null) return row.late_labels
      const counted = (await store.blocks(row.id)).filter(({ treatment }) => treatment === 1).map(summaryOf)
      const before = counted.reduce((sum, block) => sum + seenIn(block), 0)
      const from = blockStart(blockIndex(startOf(experiment), plan.blockLength) + 1, plan.blockLength)
      const to = blockStart(row.settled_block + 1, plan.blockLength)
      const now = await rows.paired(aliasesOf(experiment, 1), { from, to })
      return Math.max(row.late_labels, now.length - before)
    },
    async events(experiment, treatment) {
      const { row } = experiment
      const units = await store.units(row.id)
      const ids = [...new Set(units.map(({ unit_id: id }) => id))]
      if (ids.length === 0) return []
      const notices = await db
        .selectFrom('spot_interruption_events')
        .select(['agent_id', 'instance_id', 'detected_at'])
        .where('signal_type', '=', 'termination-notice')
        .where('detected_at', '>=', startOf(experiment))
        .where((eb) => eb.or([eb('agent_id', 'in', ids), eb('instance_id', 'in', ids)]))
        .orderBy('detected_at')
        .execute()
      return notices.flatMap(({ agent_id: agent, instance_id: instance, detected_at: at }): ArmEvent[] => {
        const there = units.filter((unit) => runsAt(unit, at))
        const own = there.find(({ unit_id: id }) => id === agent || id === instance)
        if (!own || (own.arm !== 0 && own.arm !== treatment)) return []
        return [
          {
            arm: own.arm === 0 ? 'control' : 'treatment',
            controlExposure: there.filter(({ arm }) => arm === 0).length,
            treatmentExposure: there.filter(({ arm }) => arm === treatment).length,
          },
        ]
      })
    },
  }
}

const startOf = ({ row }: Experiment): Instant => instant(row.started_at ?? row.created_at)

const aliasesOf = ({ row }: Experiment, treatment: number) => ({
  control: shadowAlias(row.id, 0),
  treatment: shadowAlias(row.id, treatment),
})

const runsAt = ({ since, until }: ExperimentUnitRow, at: number): boolean =>
  since <= at && (until === null || until > at)

const covers = ({ since, until }: ExperimentUnitRow, day: number): boolean =>
  since <= day * DAY && (until === null || until >= (day + 1) * DAY)

export const summaryOf = ({ summary }: { readonly summary: string }): BlockSummary =>
  JSON.parse(summary) as BlockSummary

const seenIn = ({ rows, excludedFallback, excludedGapFilled }: BlockSummary): number =>
  rows + excludedFallback + excludedGapFilled

/** Costs of units as they were settled. */
export const unitDaysOf = (
  rows: readonly { readonly treatment: number; readonly block_index: number; readonly summary: string }[],
  treatment: number,
): (UnitDay & { readonly day: number })[] =>
  rows
    .filter(({ treatment: arm }) => arm === 0 || arm === treatment)
    .map(({ treatment: arm, block_index: day, summary }) => ({
      arm: arm === 0 ? 'control' : 'treatment',
      day,
      ...(JSON.parse(summary) as { usd: number; usefulHours: number }),
    }))
