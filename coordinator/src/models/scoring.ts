import { AppError } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
import { type FeatureRows, type LeftOut, leftOutReasons, type PoolFeatures } from './pool-features.ts'
import type { PoolPrices, PricedPool } from './pool-prices.ts'
import type { ServedModel } from './served-model.ts'
import type { Prediction, Serving } from './serving.ts'

/** What is asked about: a region, or some of its pools. */
export interface Asked {
  readonly region: string
  readonly only?: readonly string[]
}

/** Pools with their probabilities: pool i has `prediction.p[i]`, from row i of `values`. */
export interface Scores {
  readonly at: Instant
  readonly prediction: Prediction
  readonly pools: readonly PricedPool[]
  readonly values: Float32Array
  readonly left: ReadonlyMap<string, LeftOut>
}

/** Code `not_ready`: no pool had the prices that the model needs. */
export class NothingToScore extends AppError {
  readonly model: ServedModel
  readonly left: ReadonlyMap<string, LeftOut>
  constructor(model: ServedModel, left: ReadonlyMap<string, LeftOut>) {
    super('not_ready', nothingToScore(left))
    this.model = model
    this.left = left
  }
}

/** Features and inference in one batch. */
export interface Scorer {
  /**
   * @param alias such as `shadow:1` or `lab:i-1`; without it the active version
   * @throws AppError `unavailable` when no model is active or none answers, `not_supported`, `not_found` for an alias that
   * points to nothing, `not_ready` (`NothingToScore`) when no pool has the prices that the model needs, `model_refused`
   */
  score(asked: readonly Asked[], at: Instant, alias?: string): Promise<Scores>
}

export function createScorer(parts: {
  readonly serving: Pick<Serving, 'active' | 'hosts' | 'predict' | 'predictAs'>
  readonly prices: PoolPrices
  readonly features: PoolFeatures
}): Scorer {
  const { serving, prices, features } = parts

  function modelOf(alias: string | undefined): ServedModel {
    const model =
      alias === undefined ? serving.active : serving.hosts().find((host) => host.alias === alias)?.model
    if (model) return model
    if (alias === undefined) throw new AppError('unavailable', 'no model is active')
    throw new AppError('not_found', `no model is assigned to ${alias}`)
  }

  return {
    async score(asked, at, alias) {
      // Without a model nothing is read.
      modelOf(alias)
      await prices.refresh()
      for (let attempt = 0; ; attempt += 1) {
        const model = modelOf(alias)
        const rows = join(
          asked.map(({ region, only }) => features.rows(model.manifest, region, at, only)),
          at,
        )
        if (rows.pools.length === 0) throw new NothingToScore(model, rows.left)
        // Chosen in this same turn, so that the rows are those that the version takes.
        const prediction = await (alias === undefined
          ? serving.predict(rows.values)
          : serving.predictAs(alias, rows.values))
        if (sameFeatures(prediction.model, model)) return { ...rows, prediction }
        if (attempt > 0)
          throw new AppError('unavailable', 'the active version changed while it was asked', {
            retryable: true,
          })
      }
    },
  }
}

function join(all: readonly FeatureRows[], at: Instant): FeatureRows {
  const [only] = all
  if (all.length === 1 && only) return only
  const values = new Float32Array(all.reduce((sum, rows) => sum + rows.values.length, 0))
  let offset = 0
  for (const rows of all) {
    values.set(rows.values, offset)
    offset += rows.values.length
  }
  return {
    at,
    values,
    pools: all.flatMap(({ pools }) => pools),
    left: new Map(all.flatMap(({ left }) => [...left])),
  }
}

const sameFeatures = (a: ServedModel, b: ServedModel): boolean =>
  a.id === b.id ||
  a.manifest.input.features.map(({ name }) => name).join(' ') ===
    b.manifest.input.features.map(({ name }) => name).join(' ')

function nothingToScore(left: ReadonlyMap<string, LeftOut>): string {
  const counts = Object.entries(Object.groupBy(left.values(), (why) => why)).map(
    ([why, all]) => `${all.length}: ${leftOutReasons[why as LeftOut]}`,
  )
  return `no pool has the prices that the model needs${counts.length > 0 ? ` (${counts.join('; ')})` : ''}`
}
