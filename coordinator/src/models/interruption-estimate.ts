import type { Instant } from '@understudy/shared/core/time'
import { type InterruptionBand, interruptionBands, type Pool } from '@understudy/shared/market/pool'
import { advisorProbability12h } from '@understudy/shared/pipeline/risk'

export interface InterruptionQuestion {
  readonly pool: Pool
  readonly band: InterruptionBand | null
  readonly launchedAt: Instant | null
  readonly now: Instant
}

export interface InterruptionEstimate {
  readonly probability12h: number
  /** 0 to 1: how much is known of this pool itself. */
  readonly confidence: number
  readonly sources: readonly string[]
}

/** P(AWS interrupts an instance of the pool within 12 h). */
export type EstimateInterruption = (
  asked: InterruptionQuestion,
) => InterruptionEstimate | Promise<InterruptionEstimate>

/** A band is wide and speaks of a type in a region, so that half is all the confidence that it gives. */
const BAND_CONFIDENCE = 0.5
const NO_BAND_CONFIDENCE = 0.2

/** From the Spot Advisor alone: it knows neither the age of an instance nor the hour. */
export function estimateByAdvisor({ band }: InterruptionQuestion): InterruptionEstimate {
  return {
    probability12h: advisorProbability12h(band),
    confidence: band === null ? NO_BAND_CONFIDENCE : BAND_CONFIDENCE,
    sources: [
      band === null
        ? 'the Spot Advisor does not know this type here: its second highest band is assumed'
        : `Spot Advisor: ${interruptionBands[band]} of instances a month`,
    ],
  }
}
