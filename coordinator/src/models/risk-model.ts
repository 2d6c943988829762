import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type Clock, type Instant, type Millis, millis } from '@understudy/shared/core/time'
import { poolId, regionOf } from '@understudy/shared/market/pool'
import type { Offer } from '@understudy/shared/pipeline/context'
import type { RiskModel } from '../pipeline/pipeline.ts'
import type { Asked, Scorer, Scores } from './scoring.ts'
import type { ServedModel } from './served-model.ts'

/** A decision does not wait longer for probabilities. */
const LIMIT = millis(1000)

/**
 * The model as the decision pipeline sees it: the active version, or the one of an alias, in whose place the active one
 * answers when it cannot, which `modelFailure` says.
 */
export function createRiskModel(scorer: Scorer, clock: Clock): RiskModel {
  const ask = (asked: readonly Asked[], now: Instant, alias?: string) =>
    within(clock, LIMIT, scorer.score(asked, now, alias))

  return {
    async score(offers, now, { alias } = {}) {
      const asked = askedFor(offers)
      let fallback: string | null = null
      try {
        const scores = await askWithFallback()
        return withScores(offers, scores, fallback)
      } catch (error) {
        if (!isAppError(error)) throw error
        return { offers, model: null, modelFailure: joined(fallback, messageOf(error)) }
      }

      async function askWithFallback(): Promise<Scores | string> {
        if (alias === undefined) return ask(asked, now)
        const first = await ask(asked, now, alias).catch((error: unknown) => {
          if (!isAppError(error)) throw error
          return messageOf(error)
        })
        if (typeof first !== 'string') return first
        fallback = `FALLBACK_USED: the model of ${alias} did not answer (${first}), the active one did`
        return ask(asked, now)
      }
    },
  }
}

/** The version under which decisions name it. */
const versionOf = ({ id, manifest }: ServedModel): string => `${manifest.name} ${manifest.version} (${id})`

function withScores(
  offers: readonly Offer[],
  scores: Scores | string,
  fallback: string | null,
): Awaited<ReturnType<RiskModel['score']>> {
  if (typeof scores === 'string') return { offers, model: null, modelFailure: joined(fallback, scores) }
  const { prediction, pools } = scores
  const p = new Map(pools.map(({ id }, i) => [id, prediction.p[i] ?? null]))
  return {
    offers: offers.map((offer) => ({ ...offer, instability12h: p.get(poolId(offer)) ?? null })),
    model: {
      version: versionOf(prediction.model),
      decisionThreshold: prediction.model.manifest.decision_threshold,
    },
    modelFailure: fallback,
  }
}

const joined = (...parts: readonly (string | null)[]): string =>
  parts.filter((part) => part !== null).join('; ')

function askedFor(offers: readonly Offer[]): Asked[] {
  const regions = Map.groupBy(offers, ({ availabilityZone }) => regionOf(availabilityZone))
  return [...regions].map(([region, own]) => ({ region, only: own.map(poolId) }))
}

/** What it resolves to, or in words that it took too long. */
function within<T>(clock: Clock, limit: Millis, promise: Promise<T>): Promise<T | string> {
  return new Promise((resolve, reject) => {
    const cancel = clock.timer(limit, () => resolve(`it did not answer within ${limit} ms`))
    promise.then(resolve, reject).finally(cancel)
  })
}
