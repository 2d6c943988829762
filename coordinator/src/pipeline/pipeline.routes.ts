import {
  type EvaluateResponse,
  evaluateRequestSchema,
  evaluateResponseSchema,
} from '@understudy/shared/protocol/decisions'
import { type Api, answer, createRoutes, problems, requiredJson, requireRole, route } from '../http/http.ts'
import type { Evaluation, EvaluationRequest } from './evaluations.ts'

/** What the pipeline would decide. It is kept, so it takes an operator. */
export function pipelineRoutes(evaluate: (asked: EvaluationRequest) => Promise<Evaluation>): Api {
  return createRoutes().openapi(
    route({
      method: 'post',
      path: '/api/v1/evaluate',
      summary: 'What the decision pipeline would do with an instance, and why: a dry run that is kept',
      middleware: requireRole('operator'),
      request: { body: requiredJson(evaluateRequestSchema) },
      responses: { 200: answer('The decision with its whole trace', evaluateResponseSchema), ...problems },
    }),
    async (c) => {
      const asked = c.req.valid('json')
      const evaluation = await evaluate({
        instanceType: asked.instance_type,
        availabilityZone: asked.availability_zone,
        instanceId: asked.instance_id,
        awsSignal: asked.aws_signal,
      })
      return c.json(toResponse(evaluation), 200)
    },
  )
}

function toResponse({ id, at, outcome, durationMs, stageMs }: Evaluation): EvaluateResponse {
  const { decision, current } = outcome
  const { target } = decision
  return {
    decision: decision.decision,
    reason: decision.reason,
    crash_probability: current?.risk?.instability12h ?? null,
    aws_signal: decision.awsSignal,
    execution_time_ms: durationMs,
    decision_id: id,
    code: decision.code,
    p_interruption_12h: current?.risk?.interruption12h ?? null,
    risk_source: outcome.riskSource,
    pipeline_mode: outcome.mode,
    target: target?.score
      ? {
          pool_id: target.id,
          spot_price: target.offer.spotUsd,
          effective_cost: target.score.effectiveUsd,
          yield: target.score.yield,
        }
      : null,
    action: decision.action?.kind ?? null,
    alert: decision.alert,
    suggestion: decision.suggestion,
    gain: decision.gainUsd,
    trace: outcome.trace.map(({ stage, dropped, ...counts }) => ({
      stage,
      ...counts,
      ms: stageMs.get(stage) ?? 0,
      dropped: [...dropped],
    })),
    at: new Date(at).toISOString(),
  }
}
