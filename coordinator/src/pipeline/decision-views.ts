import type { CycleView, DecisionView } from '@understudy/shared/protocol/decision-log'
import type { DecisionTrace } from '@understudy/shared/protocol/decisions'
import type { Cycle, Decided } from './batch.ts'
import type { ListedDecision, Replayed } from './decision-store.ts'

const iso = (at: number): string => new Date(at).toISOString()

export function toDecisionView(row: ListedDecision): DecisionView {
  return {
    id: row.id,
    at: iso(row.at),
    cycle_id: row.cycle_id,
    agent_id: row.target_id,
    instance_id: row.instance_id,
    pool_id: row.pool_id,
    pipeline_mode: row.mode as DecisionView['pipeline_mode'],
    decision: row.decision as DecisionView['decision'],
    code: row.code,
    // Rows of before these columns have none.
    reason: row.reason ?? '',
    aws_signal: row.aws_signal ?? 'NONE',
    crash_probability: row.p_instability,
    p_interruption_12h: row.p_interruption,
    risk_source: row.risk_source ?? '',
    model: row.model_version,
    target_pool_id: row.target_pool_id,
    gain: row.gain === null ? null : row.gain / 1e6,
    action: row.action,
    alert: row.alert,
    actuator: row.actuator as DecisionView['actuator'],
    actuator_level: row.level as DecisionView['actuator_level'],
    result:
      row.result_status === null
        ? null
        : {
            status: row.result_status as NonNullable<DecisionView['result']>['status'],
            reason: row.result_reason ?? '',
          },
    execution_time_ms: row.duration_ms,
  }
}

export function toCycleView(cycle: Cycle): CycleView {
  return {
    cycle_id: cycle.id,
    at: iso(cycle.at),
    by: cycle.by,
    duration_ms: cycle.durationMs,
    model_ms: cycle.modelMs,
    agents: cycle.targets,
    decisions: cycle.decisions,
    budget: cycle.budget,
    acted: cycle.acted,
    skipped: cycle.skipped.map(({ target, reason }) => ({ agent_id: target, reason })),
    actions: cycle.actions.map(({ target, decisionId, status, reason }) => ({
      agent_id: target,
      decision_id: decisionId,
      status,
      reason,
    })),
  }
}

/** As it would be read from the database right after its cycle. */
export function fromCycle({ decision }: Decided, { actions }: Cycle): DecisionView {
  const { id, input, made, digest } = decision
  const what = digest.decision
  const result = actions.find(({ decisionId }) => decisionId === id)
  return {
    id,
    at: iso(input.now),
    cycle_id: made.cycleId ?? null,
    agent_id: made.targetId ?? null,
    instance_id: made.instanceId,
    pool_id: made.poolId,
    pipeline_mode: input.mode,
    decision: what.decision,
    code: what.code,
    reason: what.reason,
    aws_signal: what.awsSignal,
    crash_probability: digest.instability12h,
    p_interruption_12h: digest.interruption12h,
    risk_source: digest.riskSource,
    model: input.model?.version ?? null,
    target_pool_id: what.target?.id ?? null,
    gain: what.gainUsd,
    action: what.action?.kind ?? null,
    alert: what.alert,
    actuator: made.actuator ?? null,
    actuator_level: made.level ?? null,
    result: result ? { status: result.status, reason: result.reason } : null,
    execution_time_ms: made.durationMs,
  }
}

const MOST_RANKED = 20

export const toTraceView = (id: string, { outcome, same }: Replayed): DecisionTrace => ({
  decision_id: id,
  same,
  trace: outcome.trace.map(({ stage, dropped, ...counts }) => ({ stage, ...counts, dropped: [...dropped] })),
  ranked: outcome.ranked.slice(0, MOST_RANKED).map(({ id: pool, offer, score, risk }) => ({
    pool_id: pool,
    spot_price: offer.spotUsd,
    effective_cost: score?.effectiveUsd ?? null,
    p_instability_12h: risk?.instability12h ?? null,
    p_interruption_12h: risk?.interruption12h ?? null,
  })),
})
