import { hours, type Instant, minutes } from '../core/time.ts'
import type { StandbyFacts } from './standby-plan.ts'

/** A pool that a standby could go into, or is in. Money in micro-dollars per hour. */
export interface SpotPlace {
  readonly pool: string
  readonly spotPrice: number
  /** P(an instance there is lost within 12 h), by itself or together with those that it stands beside. */
  readonly risk: number
}

/** An agent whose primary was started on demand by us, because no spot pool had capacity then. */
export interface OnDemandStay {
  readonly now: Instant
  readonly launchedAt: Instant
  /** What the primary costs; null where nobody knows. */
  readonly onDemandPrice: number | null
  /** Moves of the past day that nobody had to make. */
  readonly switches24h: number
  /** A pool above it is not safe. */
  readonly threshold: number
  /** Another agent is being brought back: all that were helped at once do not go back at once. */
  readonly isBusy: boolean
  /** When a move back was last tried. */
  readonly triedAt: Instant | null
  /** Standbys on spot that count on, and where each is; null where nobody knows. */
  readonly standbys: readonly (StandbyFacts & { readonly place: SpotPlace | null })[]
  /** Where one would be made now; undefined where no pool is left. Asked for only when it matters. */
  readonly best: SpotPlace | undefined
}

export type SpotReturn =
  | { readonly kind: 'stay'; readonly why: string }
  | { readonly kind: 'make'; readonly why: string }
  | { readonly kind: 'hand-over'; readonly instance: string; readonly why: string }

const MIN_STAY = hours(4)
const MAX_SWITCHES = 3
const MIN_GAIN = 2000
const MIN_GAIN_SHARE = 0.1
const TRY_AGAIN = minutes(5)

/**
 * Whether an agent that was helped on demand goes back to spot: once it has stayed for four hours, with fewer than three moves in the past
 * day, where a pool is left that is safe and saves at least `max($0.002, 10 %)` an hour. First a standby there, then a move without
 * loss when it is ready. Pure. Source: decisions 3.5.
 *
 * Properties (spot-return.test.ts): never before its time, never onto what is at risk or saves too little; what is made is what is then
 * moved to.
 */
export function planReturn(stay: OnDemandStay): SpotReturn {
  const held = heldBack(stay)
  if (held !== undefined) return { kind: 'stay', why: held }
  const good = stay.standbys
    .filter(({ isAtRisk, place }) => !isAtRisk && place !== null && objectionTo(place, stay) === undefined)
    .sort((a, b) => a.merit - b.merit)
  const ready = good.find(({ isReady, instance }) => isReady && instance !== null)
  if (ready?.instance && ready.place)
    return { kind: 'hand-over', instance: ready.instance, why: reasonFor(ready.place, stay) }
  if (good.length > 0) return { kind: 'stay', why: 'its standby on spot is not ready yet' }
  if (!stay.best) return { kind: 'stay', why: 'no spot pool is left' }
  const objection = objectionTo(stay.best, stay)
  return objection === undefined
    ? { kind: 'make', why: reasonFor(stay.best, stay) }
    : { kind: 'stay', why: objection }
}

/** What holds it back before pools are looked at. */
export function heldBack({
  now,
  launchedAt,
  onDemandPrice,
  switches24h,
  isBusy,
  triedAt,
}: Omit<OnDemandStay, 'best' | 'standbys'>): string | undefined {
  if (onDemandPrice === null) return 'nobody knows what it costs'
  if (now - launchedAt < MIN_STAY) return `it has run for less than ${MIN_STAY / hours(1)} h`
  if (switches24h >= MAX_SWITCHES) return `it has moved ${switches24h} times within 24 h`
  if (triedAt !== null && now - triedAt < TRY_AGAIN) return 'it was tried a moment ago'
  return isBusy ? 'another agent is being brought back' : undefined
}

function objectionTo({ pool, spotPrice, risk }: SpotPlace, stay: OnDemandStay): string | undefined {
  if (risk > stay.threshold)
    return `${pool} is not safe: lost within 12 h with a probability of ${risk.toFixed(2)}, above ${stay.threshold}`
  const before = stay.onDemandPrice ?? 0
  const needed = Math.max(MIN_GAIN, MIN_GAIN_SHARE * before)
  return before - spotPrice < needed
    ? `${pool} saves ${usd(before - spotPrice)} an hour, less than ${usd(needed)}`
    : undefined
}

const reasonFor = ({ pool, spotPrice }: SpotPlace, { onDemandPrice }: OnDemandStay): string =>
  `back to spot: ${pool} has capacity again and saves ${usd((onDemandPrice ?? 0) - spotPrice)} an hour`

const usd = (micro: number): string => `$${(micro / 1e6).toFixed(4)}`
