import { fromUsd, type MicroUsd, microUsd, toUsd } from '@understudy/shared/core/money'
import type { Instant } from '@understudy/shared/core/time'
import type { Candidate } from '@understudy/shared/pipeline/context'
import type { InstanceConfig } from '@understudy/shared/pipeline/instance-config'
import type { ExperimentLog, LogDecision } from '@understudy/shared/protocol/lab'
import type { DecisionMade } from '../pipeline/pipeline.ts'
import {
  comesAfter,
  type ExperimentLogRow,
  type Kysely,
  type Position,
  type Schema,
} from '../storage/database.ts'

/** Every decision of a target in the Lab, kept for as long as the Lab is: experiments are judged by them. */
export interface ExperimentLogs {
  /** Written once for each decision. */
  add(made: DecisionMade, of: Logged): Promise<void>
  /** The latest first. @param before time and id of the last one seen */
  list(instanceId: string, before: Position | undefined, limit: number): Promise<readonly ExperimentLogRow[]>
  last(instanceId: string): Promise<ExperimentLogRow | undefined>
}

export interface Logged {
  readonly config: InstanceConfig
  readonly experimentId: string | null
  /** The version that answered. */
  readonly answeredBy: string | null
}

export function createExperimentLogs(db: Kysely<Schema>): ExperimentLogs {
  return {
    async add(made, of) {
      await db
        .insertInto('experiment_logs')
        .values(toRow(made, of))
        .onConflict((conflict) => conflict.doNothing())
        .execute()
    },
    list(instanceId, before, limit) {
      return db
        .selectFrom('experiment_logs')
        .selectAll()
        .where('instance_id', '=', instanceId)
        .where(comesAfter(before, { at: 'execution_time', id: 'id' }))
        .orderBy('execution_time', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
        .execute()
    },
    last: (instanceId) =>
      db
        .selectFrom('experiment_logs')
        .selectAll()
        .where('instance_id', '=', instanceId)
        .orderBy('execution_time', 'desc')
        .orderBy('id', 'desc')
        .limit(1)
        .executeTakeFirst(),
  }
}

/** Prices that are no prices are left out: one row that is wrong is no reason to lose the decision. */
const priceOf = (usd: number): MicroUsd | null => (Number.isFinite(usd) && usd >= 0 ? fromUsd(usd) : null)

function toRow({ id, input, outcome, durationMs, acted }: DecisionMade, of: Logged): ExperimentLogRow {
  const { decision, current } = outcome
  const chosen = decision.target ?? current
  return {
    id,
    instance_id: of.config.id,
    model_id: of.answeredBy,
    assigned_model_id: of.config.modelId,
    fallback_reason: fallbackReason(input.modelFailure, of),
    experiment_id: of.experimentId,
    prediction_score: scoreOf(chosen),
    decision: logDecision(decision.decision, decision.awsSignal !== 'NONE', of.answeredBy),
    acted: acted ? 1 : 0,
    execution_time: input.now,
    execution_duration_ms: durationMs,
    selected_instance_type: chosen?.offer.instanceType ?? null,
    spot_price: chosen ? priceOf(chosen.offer.spotUsd) : null,
    projected_savings:
      decision.decision === 'SWITCH' && decision.gainUsd !== null
        ? Math.round(decision.gainUsd * (input.policy.hold / 3_600_000) * 1e6)
        : null,
    metadata: JSON.stringify({
      code: decision.code,
      reason: decision.reason,
      pool_id: chosen?.id ?? null,
      pipeline_mode: outcome.mode,
      pipeline_version: outcome.version,
      risk_source: outcome.riskSource,
      aws_signal: decision.awsSignal,
      gain_usd_per_hour: decision.gainUsd,
    }),
  }
}

const scoreOf = (candidate: Candidate | null): number | null => candidate?.risk?.instability12h ?? null

/** Why the assigned version is not the one that answered; null when it is, and when none is assigned and one answered. */
function fallbackReason(failure: string | null, { config, answeredBy }: Logged): string | null {
  if (answeredBy === null) return failure ?? 'no model answered'
  if (config.modelId === null || config.modelId === answeredBy) return null
  return failure ?? `FALLBACK_USED: ${answeredBy} answered in place of ${config.modelId}`
}

/** Without a model and a signal nothing was decided: the Spot Advisor alone moves nothing. */
function logDecision(
  decision: 'STAY' | 'SWITCH' | 'DRAIN' | 'EVACUATE',
  signalled: boolean,
  answeredBy: string | null,
): LogDecision {
  if (answeredBy === null && !signalled) return 'FAILED'
  return decision === 'STAY' ? 'HOLD' : decision
}

export const logView = (row: ExperimentLogRow): ExperimentLog => ({
  id: row.id,
  instance_id: row.instance_id,
  model_id: row.model_id,
  assigned_model_id: row.assigned_model_id,
  fallback_reason: row.fallback_reason,
  experiment_id: row.experiment_id,
  prediction_score: row.prediction_score,
  decision: row.decision as LogDecision,
  acted: row.acted === 1,
  execution_time: new Date(row.execution_time as Instant).toISOString(),
  execution_duration_ms: row.execution_duration_ms,
  selected_instance_type: row.selected_instance_type,
  spot_price: row.spot_price === null ? null : toUsd(microUsd(row.spot_price)),
  projected_savings: row.projected_savings === null ? null : toUsd(microUsd(row.projected_savings)),
  metadata: JSON.parse(row.metadata) as Record<string, unknown>,
})
