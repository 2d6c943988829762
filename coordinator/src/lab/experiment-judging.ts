import { type Clock, hours, instant } from '@understudy/shared/core/time'
import { blockStart } from '@understudy/shared/experiments/blocks'
import type { Interval } from '@understudy/shared/experiments/confidence-sequence'
import { compareCosts } from '@understudy/shared/experiments/cost'
import { changingShare, type RateResult } from '@understudy/shared/experiments/event-rates'
import { type SampleRatio, safetyGuard, sampleRatio } from '@understudy/shared/experiments/guards'
import { sequenceOf } from '@understudy/shared/experiments/plan'
import {
  judgeCosts,
  judgeLosses,
  judgeRates,
  lossDifferences,
  type Standing,
  together,
  type Verdict,
} from '@understudy/shared/experiments/verdict'
import type { ExperimentResults, ExperimentVerdict } from '@understudy/shared/protocol/experiments'
import type { ExperimentBlockRow, ExperimentUnitRow } from '../storage/database.ts'
import { type Observations, summaryOf, unitDaysOf } from './experiment-observations.ts'
import type { Experiment, ExperimentStore } from './experiment-store.ts'

/** What can be said of an experiment from what has been settled. */
export interface Judging {
  /** A pin has no verdict. */
  results(experiment: Experiment): Promise<ExperimentResults>
}

type TreatmentView = ExperimentResults['treatments'][number]
interface Judged {
  readonly verdict: Verdict
  readonly view: TreatmentView
}

export function createJudging(parts: {
  readonly clock: Clock
  readonly store: ExperimentStore
  readonly observations: Observations
}): Judging {
  const { clock, store, observations } = parts

  async function judge(experiment: Experiment, treatment: number, seen: Seen): Promise<Judged> {
    const { plan } = experiment
    if (plan.kind === 'shadow') return judgeShadow(experiment, treatment, seen)
    if (plan.metric === 'interruption_rate') {
      const rates = changingShare(await observations.events(experiment, treatment), sequenceOf(plan).alpha)
      return {
        verdict: judgeRates(rates, seen.standing),
        view: { ...nothing(experiment, treatment), events: ratesView(rates) },
      }
    }
    const days = unitDaysOf(seen.blocks, treatment)
    const costs = compareCosts(days, sequenceOf(plan))
    return {
      verdict: judgeCosts(
        costs,
        days.map(({ day }) => day),
        seen.standing,
      ),
      view: {
        ...nothing(experiment, treatment),
        difference: intervalView(costs.difference),
        costs: { control: costs.control.usdPerHour, treatment: costs.treatment.usdPerHour },
        blocks: days.length,
      },
    }
  }

  return {
    async results(experiment) {
      const { row, plan } = experiment
      const seen = await seenOf(experiment)
      const treatments = [...plan.arms.keys()].filter((arm) => arm > 0)
      const judged: Judged[] = []
      if (row.started_at !== null)
        for (const treatment of treatments) judged.push(await judge(experiment, treatment, seen))
      return {
        experiment_id: row.id,
        status: row.status as ExperimentResults['status'],
        verdict:
          row.status === 'RUNNING' ? verdictView(experiment, judged, clock.now()) : storedVerdict(experiment),
        treatments: judged.map(({ view }) => view),
        sample_ratio: seen.ratio && { counts: seen.counts, ...seen.ratio },
        late_labels: row.late_labels,
        settled_until: settledUntil(experiment),
      }
    },
  }

  async function seenOf(experiment: Experiment): Promise<Seen> {
    const { row, plan } = experiment
    const units = await store.units(row.id)
    const counts = plan.arms.map((_, arm) => units.filter((unit) => unit.arm === arm).length)
    // Pools that are drawn anew each day bring their units with them: how many changed arms says nothing of the draw.
    const filled = plan.arms.filter((_, arm) => (counts[arm] ?? 0) > 0).map(({ name }) => name)
    const isDrawn = plan.kind === 'ab' && plan.unit === 'instance' && units.length > 0
    const ratio = isDrawn ? sampleRatio(plan.arms, counts) : null
    const now = instant(row.ended_at ?? clock.now())
    return {
      blocks: await store.blocks(row.id),
      units,
      counts,
      ratio,
      standing: {
        plan,
        startedAt: instant(row.started_at ?? row.created_at),
        ...{ now, ratio, guard: null, filled: plan.kind === 'ab' ? filled : null },
      },
    }
  }
}

interface Seen {
  readonly blocks: readonly ExperimentBlockRow[]
  readonly units: readonly ExperimentUnitRow[]
  readonly counts: number[]
  readonly ratio: SampleRatio | null
  readonly standing: Standing
}

function judgeShadow(experiment: Experiment, treatment: number, { blocks: all, standing }: Seen): Judged {
  const { plan } = experiment
  const blocks = all.filter((block) => block.treatment === treatment).map(summaryOf)
  const guard = safetyGuard(blocks, plan.planned, plan.guardrails.missedMargin)
  const sum = (of: (block: (typeof blocks)[number]) => number) =>
    blocks.reduce((total, block) => total + of(block), 0)
  return {
    verdict: judgeLosses(blocks, { ...standing, guard }),
    view: {
      ...nothing(experiment, treatment),
      difference: intervalView(lossDifferences(blocks, plan)),
      blocks: blocks.length,
      rows: sum(({ rows }) => rows),
      positives: sum(({ positives }) => positives),
      excluded_fallback: sum(({ excludedFallback }) => excludedFallback),
      excluded_gap_filled: sum(({ excludedGapFilled }) => excludedGapFilled),
      missed: intervalView(guard.missed),
    },
  }
}

const nothing = ({ plan }: Experiment, treatment: number): TreatmentView => ({
  arm: plan.arms[treatment]?.name ?? '',
  difference: null,
  events: null,
  costs: null,
  blocks: 0,
  rows: 0,
  positives: 0,
  excluded_fallback: 0,
  excluded_gap_filled: 0,
  missed: null,
})

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null)

const intervalView = ({ n, mean, lower, upper }: Interval): TreatmentView['difference'] => ({
  n,
  mean,
  lower: finite(lower),
  upper: finite(upper),
})

const ratesView = ({ eValue, upper, ...rates }: RateResult): TreatmentView['events'] => ({
  ...rates,
  e_value: eValue,
  upper: finite(upper),
})

function verdictView({ plan }: Experiment, judged: readonly Judged[], at: number): ExperimentVerdict | null {
  if (judged.length === 0) return null
  const { treatment, winner, verdict, reason, missing } = together(judged.map((one) => one.verdict))
  const arm = winner === null ? undefined : plan.arms[winner === 'control' ? 0 : treatment + 1]
  return { verdict, winner: arm?.name ?? null, reason, missing: [...missing], at: new Date(at).toISOString() }
}

export const storedVerdict = ({ row }: Experiment): ExperimentVerdict | null =>
  row.verdict === null ? null : (JSON.parse(row.verdict) as ExperimentVerdict)

function settledUntil({ row, plan }: Experiment): string | null {
  if (row.settled_block === null) return null
  const length = plan.kind === 'shadow' ? plan.blockLength : hours(24)
  return new Date(blockStart(row.settled_block + 1, length)).toISOString()
}
