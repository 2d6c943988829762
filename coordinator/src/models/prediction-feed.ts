import { parsePool, regionOf } from '@understudy/shared/market/pool'
import type { PredictionRunView } from '@understudy/shared/protocol/predictions'
import { createStream, type Stream } from '../live/live.ts'

/** Predictions as they are made, and the last of them. */
export interface PredictionFeed extends Stream<PredictionRunView> {
  readonly last: PredictionRunView | undefined
}

export function createPredictionFeed(): PredictionFeed {
  const stream = createStream<PredictionRunView>()
  let last: PredictionRunView | undefined
  return {
    get listeners() {
      return stream.listeners
    },
    get last() {
      return last
    },
    publish(run) {
      last = run
      stream.publish(run)
    },
    join: stream.join,
  }
}

/** Of each run the pools that a page wants; undefined: all of them. */
export function wanted({
  pool,
  region,
}: {
  readonly pool?: string | undefined
  readonly region?: string | undefined
}): ((run: PredictionRunView) => PredictionRunView) | undefined {
  if (pool === undefined && region === undefined) return undefined
  const isWanted = (id: string) =>
    (pool === undefined || id === pool) &&
    (region === undefined || regionOf(parsePool(id).availabilityZone) === region)
  return (run) => ({ ...run, items: run.items.filter(({ pool_id: id }) => isWanted(id)) })
}
