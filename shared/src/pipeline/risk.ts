import { hours } from '../core/time.ts'
import { advisorHazard } from '../interruption/advisor-rate.ts'
import type { InterruptionBand } from '../market/pool.ts'
import { poolId } from '../market/pool.ts'
import {
  type Candidate,
  filtered,
  type PipelineInput,
  type Risk,
  type Stage,
  type StageContext,
} from './context.ts'

const EXCLUDED_FOR = hours(6)
const REMEMBERED_FOR = hours(24)
const REMEMBERED_FACTOR = 4

/** Events per hour of what happens with probability `p` within 12 h: `-ln(1 - p) / 12`. */
export const hazardOf = (p12h: number): number => -Math.log1p(-Math.min(p12h, 1 - 1e-12)) / 12

/** What the Spot Advisor's band, which is per month, says of the next 12 h. */
export const advisorProbability12h = (band: InterruptionBand | null): number =>
  -Math.expm1(-12 * advisorHazard(band))

const isProbability = (value: number | null): value is number =>
  value !== null && Number.isFinite(value) && value >= 0 && value <= 1

/** The model's scores count when a model answered for at least one offer; else the Spot Advisor is all there is. */
export const riskSourceOf = ({ model, offers }: PipelineInput): Risk['source'] =>
  model !== null && offers.some(({ instability12h }) => isProbability(instability12h))
    ? 'MODEL'
    : 'ADVISOR_FALLBACK'

/**
 * Scores each candidate. Out falls what the model, though it answered, has no score for, and what has just interrupted an
 * instance of ours: within 6 h it is excluded, within 24 h its hazard counts four times.
 */
export const risk: Stage = {
  name: 'risk',
  run(candidates, context) {
    const { kept, dropped } = filtered(candidates, (candidate) => {
      if (context.riskSource === 'MODEL' && !isProbability(candidate.offer.instability12h))
        return { code: 'NO_RISK_SCORE', reason: 'the model has no score for it' }
      const age = sinceInterruption(candidate, context)
      return age !== undefined && age < EXCLUDED_FOR
        ? { code: 'POOL_COOLDOWN', reason: 'it interrupted an instance of ours within the past 6 h' }
        : undefined
    })
    return { kept: kept.map((candidate) => withRisk(candidate, context)), dropped }
  },
}

/** The risk of a candidate whatever it is: the current one is judged by it too. */
export function withRisk(candidate: Candidate, context: StageContext): Candidate {
  const { offer } = candidate
  const instability12h =
    context.riskSource === 'MODEL' && isProbability(offer.instability12h) ? offer.instability12h : null
  const interruption12h = isProbability(offer.interruption12h)
    ? offer.interruption12h
    : advisorProbability12h(offer.band)
  const chosen =
    context.input.policy.hazardFrom === 'instability' && instability12h !== null
      ? instability12h
      : interruption12h
  const age = sinceInterruption(candidate, context)
  const recent = age !== undefined && age < REMEMBERED_FOR
  return {
    ...candidate,
    flags: recent ? [...candidate.flags, 'RECENT_INTERRUPTION'] : candidate.flags,
    risk: {
      source: context.riskSource,
      instability12h,
      interruption12h,
      hazard: hazardOf(chosen) * (recent ? REMEMBERED_FACTOR : 1),
    },
  }
}

function sinceInterruption({ id }: Candidate, { input }: StageContext): number | undefined {
  const ages = input.interruptions
    .filter((interruption) => poolId(interruption) === id && interruption.at <= input.now)
    .map(({ at }) => input.now - at)
  return ages.length === 0 ? undefined : Math.min(...ages)
}
