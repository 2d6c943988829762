import { hours } from '@understudy/shared/core/time'
import type { ExperimentView } from '@understudy/shared/protocol/experiments'
import { storedVerdict } from './experiment-judging.ts'
import type { Experiment } from './experiment-store.ts'

const toTime = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString())
const DAY = hours(24)

/** An experiment as the API has it. */
export const experimentView = (experiment: Experiment): ExperimentView => {
  const { row, plan, units } = experiment
  return {
    experiment_id: row.id,
    status: row.status as ExperimentView['status'],
    kind: plan.kind,
    hypothesis: plan.hypothesis,
    metric: plan.metric,
    direction: plan.direction,
    margin: plan.margin,
    alpha: plan.alpha,
    arms: plan.arms.map(({ name, modelId, weight }) => ({ name, model_id: modelId, weight })),
    unit: plan.unit,
    instance_ids: [...units],
    block_hours: plan.blockLength / hours(1),
    planned: plan.planned,
    min_duration_days: plan.minDuration / DAY,
    max_duration_days: plan.maxDuration / DAY,
    guardrails: { missed_margin: plan.guardrails.missedMargin },
    registration_sha256: row.plan_sha256,
    created_at: new Date(row.created_at).toISOString(),
    created_by: row.created_by,
    starts_at: toTime(row.starts_at),
    started_at: toTime(row.started_at),
    ended_at: toTime(row.ended_at),
    ended_by: row.ended_by,
    verdict: storedVerdict(experiment),
  }
}
