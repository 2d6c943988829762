import { type Clock, hours, type Instant, instant, millis, minutes } from '@understudy/shared/core/time'
import {
  type BlockRules,
  type BlockSummary,
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

/** The experiment that an alias belongs to; null for one that somebody has assigned otherwise. */
export const experimentOf = (alias: string): string | null =>
  /^shadow:(exp-[0-9a-f]+)\.\d+$/.exec(alias)?.[1] ?? null

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
  readonly rows: ScoredRows
  readonly costOf: CostOf
}

/** After the horizon a price has an hour to become known, and its label another. */
const LABELLING_HOURS = 2
const DAY = hours(24)
/** Pools are drawn anew at midnight, and the next round puts their units into their arms. */
const ENTERS_WITHIN = minutes(15)

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

  async function rulesOf({ plan }: Experiment, treatment: number): Promise<BlockRules> {
    const control = await manifestOf(plan.arms[0]?.modelId ?? '')
    const other = await manifestOf(plan.arms[treatment]?.modelId ?? '')
    return {
      length: plan.blockLength,
      settle: hours(Math.max(control.horizon, other.horizon) + LABELLING_HOURS),
      loss: plan.metric as PairedLoss,
      controlThreshold: control.threshold,
      treatmentThreshold: other.threshold,
    }
  }

  async function settleBlocks(experiment: Experiment): Promise<void> {
    const { row, plan } = experiment
    const rules = await Promise.all(plan.arms.map((_, arm) => rulesOf(experiment, arm)))
    const settle = millis(Math.max(...rules.map((rule) => rule.settle)))
    const length = plan.blockLength
    const last = lastSettled(clock.now(), { length, settle })
    // One after another: each may have many rows.
    for (let block = nextBlock(experiment); block <= last; block += 1) {
      const range = { from: blockStart(block, length), to: blockStart(block + 1, length) }
      const found = []
      for (const [treatment, rule] of rules.entries()) {
        if (treatment === 0) continue
        const paired = await rows.paired(aliasesOf(experiment, treatment), range)
        for (const summary of summarise(paired, rule))
          found.push({
            treatment,
            block_index: block,
            pool_group: summary.group,
            summary: JSON.stringify(summary),
          })
      }
      await store.settle(row.id, block, found)
    }
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
      for (const { unit_id: unit, arm, since } of units.filter((one) => covers(one, day))) {
        const from = instant(Math.max(since, day * DAY))
        const cost = await costOf(unit, { from, to: instant((day + 1) * DAY) })
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
      if (plan.kind !== 'shadow' || row.settled_block === null) return row.late_labels
      // Labels of what is older do not come any more.
      const first = Math.max(firstBlock(experiment), row.settled_block - 1)
      const range = {
        from: blockStart(first, plan.blockLength),
        to: blockStart(row.settled_block + 1, plan.blockLength),
      }
      const counted = (await store.blocks(row.id))
        .filter(({ treatment, block_index: block }) => treatment === 1 && block >= first)
        .map(summaryOf)
        .reduce((sum, block) => sum + seenIn(block), 0)
      const now = await rows.paired(aliasesOf(experiment, 1), range)
      return Math.max(row.late_labels, now.length - counted)
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

/** The first that lies in it as a whole. */
const firstBlock = (experiment: Experiment): number =>
  Math.ceil(startOf(experiment) / experiment.plan.blockLength)

const nextBlock = (experiment: Experiment): number =>
  experiment.row.settled_block === null ? firstBlock(experiment) : experiment.row.settled_block + 1

const aliasesOf = ({ row }: Experiment, treatment: number) => ({
  control: shadowAlias(row.id, 0),
  treatment: shadowAlias(row.id, treatment),
})

const runsAt = ({ since, until }: ExperimentUnitRow, at: number): boolean =>
  since <= at && (until === null || until > at)

const covers = ({ since, until }: ExperimentUnitRow, day: number): boolean =>
  since <= day * DAY + ENTERS_WITHIN && (until === null || until >= (day + 1) * DAY)

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
