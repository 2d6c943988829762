import { z } from '@hono/zod-openapi'
import { AppError } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
import { parsePool, regionOf } from '@understudy/shared/market/pool'
import { type PoolRisk, poolRiskQuerySchema, poolRiskSchema } from '@understudy/shared/protocol/interruptions'
import type { PoolView } from '@understudy/shared/protocol/market'
import { poolIdSchema } from '@understudy/shared/protocol/primitives'
import { type Api, answer, createRoutes, problems, requireRole, route } from '../http/http.ts'
import type { Interruptions, InterruptionView, SignalRecord } from './interruptions.ts'

export interface RiskSources {
  readonly interruptions: Interruptions
  /** Pools of a region of which a price is known, with the active model's estimate. */
  readonly poolsIn: (region: string) => Promise<readonly PoolView[]>
  /** Undefined for one that is not known. */
  readonly instanceOf: (
    id: string,
  ) => Promise<{ readonly poolId: string; readonly launchedAt: Instant | null } | undefined>
}

const MOST_SIGNALS = 20

/** What is known of how risky a pool is, each probability under its own name. */
export function interruptionRoutes({ interruptions, poolsIn, instanceOf }: RiskSources): Api {
  return createRoutes().openapi(
    route({
      method: 'get',
      path: '/api/pools/{pool_id}/risk',
      summary:
        'Probabilities of an interruption and of a price rise, what they are made of, and what followed signals',
      middleware: requireRole('viewer'),
      request: { params: z.object({ pool_id: poolIdSchema }), query: poolRiskQuerySchema },
      responses: {
        200: answer('The risk of one pool, or of an instance in it', poolRiskSchema),
        ...problems,
      },
    }),
    async (c) => {
      const { pool_id: id } = c.req.valid('param')
      const { hours, instance_id: instanceId } = c.req.valid('query')
      const pool = parsePool(id)
      const launchedAt = instanceId === undefined ? null : await launchOf(instanceId, id)
      const known = (await poolsIn(regionOf(pool.availabilityZone))).find(({ pool_id }) => pool_id === id)
      const estimate = await interruptions.estimate({ pool, launchedAt, hours })
      const after = await interruptions.afterSignal(pool)
      const signals = await interruptions.ledger.ofPool(id, MOST_SIGNALS)
      return c.json(
        {
          pool_id: id,
          p_instability_12h: known?.risk ?? null,
          p_interruption_12h: estimate.probability12h,
          interruption: { ...toView(estimate), band: estimate.band },
          rebalance: {
            probability: after.value,
            because: after.because,
            level: after.level,
            followed: after.hits,
            not_followed: after.misses,
          },
          signals: signals.map(toSignal),
        } satisfies PoolRisk,
        200,
      )
    },
  )

  async function launchOf(instanceId: string, poolId: string): Promise<Instant | null> {
    const instance = await instanceOf(instanceId)
    if (instance?.poolId === poolId) return instance.launchedAt
    throw new AppError('not_found', `${instanceId} is not an instance in ${poolId}`, {
      hint: instance ? `It is in ${instance.poolId}.` : 'Leave instance_id out to ask about the pool alone.',
    })
  }
}

const toView = ({
  value,
  low,
  high,
  confidence,
  hours,
  multiplier,
  sources,
  because,
  own,
}: InterruptionView) => ({
  hours,
  probability: value,
  low,
  high,
  confidence,
  multiplier,
  sources: [...sources],
  because: [...because],
  own: { instance_hours: own.instanceHours, interruptions: own.interruptions },
})

const toSignal = ({ instanceId, incidentId, actionAt, detectedAt, outcome, leadMillis }: SignalRecord) => ({
  instance_id: instanceId,
  incident_id: incidentId,
  action_at: new Date(actionAt).toISOString(),
  detected_at: new Date(detectedAt).toISOString(),
  outcome,
  lead_seconds: leadMillis === null ? null : leadMillis / 1000,
})
