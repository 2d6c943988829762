import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { fromUsd, type MicroUsd, toUsd } from '@understudy/shared/core/money'
import { type Clock, instant } from '@understudy/shared/core/time'
import { type InterruptionBand, isPoolId, parsePool, regionOf } from '@understudy/shared/market/pool'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { PredictResponse, predictRequestSchema } from '@understudy/shared/protocol/predictions'
import type { z } from 'zod'
import type { EstimateInterruption } from './interruption-estimate.ts'
import { toTime } from './model-store.ts'
import { leftOutReasons } from './pool-features.ts'
import type { Scorer } from './scoring.ts'

type PredictRequest = z.infer<typeof predictRequestSchema>

/** A price that is further from the one that is known than this share is remarked upon. */
const REMARKABLE = 0.03

/** `POST /api/v1/ml/predict/spot-interruption`: both probabilities of one pool, under their true names. */
export function createPredictCall(parts: {
  readonly scorer: Scorer
  readonly poolsIn: (region: string) => Promise<readonly PoolView[]>
  readonly estimate: EstimateInterruption
  readonly clock: Clock
}): (asked: PredictRequest) => Promise<PredictResponse> {
  const { scorer, poolsIn, estimate, clock } = parts

  return async (asked) => {
    const now = clock.now()
    const notes: string[] = []
    const view = choose(asked, await poolsIn(regionOf(asked.region)), notes)
    const pool = parsePool(view.pool_id)
    const launchedAt =
      asked.launch_time === undefined || asked.launch_time === null
        ? null
        : instant(Date.parse(asked.launch_time))
    if (launchedAt !== null && launchedAt > now)
      throw new AppError('input_invalid', 'launch_time lies ahead', {
        errors: [{ pointer: '/body/launch_time', message: 'must not be in the future' }],
      })
    const estimated = await estimate({
      pool,
      band: view.interruption_band as InterruptionBand | null,
      launchedAt,
      now,
    })
    const scored = await scoreOne(scorer, view.pool_id, now, notes)
    return {
      interruption_probability: estimated.probability12h,
      confidence: estimated.confidence,
      p_interruption_12h: estimated.probability12h,
      p_instability_12h: scored?.p ?? null,
      pool_id: view.pool_id,
      sources: [...estimated.sources],
      model: scored?.model ?? null,
      unstable: scored ? scored.p >= scored.threshold : null,
      notes,
      at: toTime(now),
    }
  }
}

async function scoreOne(scorer: Scorer, poolId: string, now: ReturnType<Clock['now']>, notes: string[]) {
  const region = regionOf(parsePool(poolId).availabilityZone)
  try {
    const { prediction, pools, left } = await scorer.score([{ region, only: [poolId] }], now)
    const why = left.get(poolId)
    if (why) notes.push(`no price instability: ${leftOutReasons[why]}`)
    if (pools.length === 0) return undefined
    const { id, manifest } = prediction.model
    if (prediction.answeredBy !== 'active') notes.push(`answered by the ${prediction.answeredBy} version`)
    return {
      p: prediction.p[0] as number,
      threshold: manifest.decision_threshold,
      model: { model_id: id, name: manifest.name, version: manifest.version },
    }
  } catch (error) {
    if (!isAppError(error)) throw error
    notes.push(`no price instability: ${messageOf(error)}`)
    return undefined
  }
}

/** The pool of the zone; of a region the one whose price is nearest to the given one, else the cheapest. */
function choose(asked: PredictRequest, views: readonly PoolView[], notes: string[]): PoolView {
  const { instance_type: type, region, spot_price: given } = asked
  const own = views.filter((view) => view.instance_type === type)
  const exact = `${type}@${region}`
  if (isPoolId(exact)) {
    const found = own.find(({ pool_id: id }) => id === exact)
    if (!found) throw noPool(exact)
    remark(found, given, notes)
    return found
  }
  const priced = own.filter(({ spot_price: price }) => price !== null)
  const distance = (view: PoolView) =>
    given === undefined ? (view.spot_price ?? 0) : Math.abs((view.spot_price ?? 0) - given)
  const [nearest] = [...(priced.length > 0 ? priced : own)].sort((a, b) => distance(a) - distance(b))
  if (!nearest) throw noPool(`${type} in ${region}`)
  if (own.length > 1)
    notes.push(
      `${own.length} zones have it: ${nearest.availability_zone} ${given === undefined ? 'is the cheapest' : 'has the nearest price'}`,
    )
  remark(nearest, given, notes)
  return nearest
}

function remark({ spot_price: known }: PoolView, given: number | undefined, notes: string[]): void {
  if (given === undefined || known === null) return
  const price: MicroUsd = fromUsd(given)
  if (Math.abs(given - known) > REMARKABLE * known)
    notes.push(`its last known price is ${known}, not ${toUsd(price)}: the known one counts`)
}

const noPool = (what: string): AppError =>
  new AppError('not_found', `nothing is known of ${what}`, {
    hint: 'GET /api/pools lists the pools of which a price is known.',
  })
