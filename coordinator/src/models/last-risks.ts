import { type Clock, minutes } from '@understudy/shared/core/time'
import type { PredictionFeed } from './prediction-feed.ts'

/** A run is made every five minutes; what is older than this is no longer what the model says. */
const VALID = minutes(30)

/** What the active model has said last of a pool; null where it has said nothing lately. */
export function createLastRisks(
  feed: Pick<PredictionFeed, 'last'>,
  clock: Clock,
): (poolId: string) => number | null {
  let run: PredictionFeed['last']
  let risks: ReadonlyMap<string, number> = new Map()
  return (poolId) => {
    const { last } = feed
    if (!last || clock.now() - Date.parse(last.at) > VALID) return null
    if (last !== run) {
      run = last
      risks = new Map(last.items.map((item) => [item.pool_id, item.p_instability_12h]))
    }
    return risks.get(poolId) ?? null
  }
}
