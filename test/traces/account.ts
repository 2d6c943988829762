import { seededRandom } from '@understudy/shared/core/random'
import { capacitySpans, lengthOf, type Schedule, type Span, slotsAt, takeSlot, within } from './schedule.ts'

/** An instance that was up: when, in seconds of the trace, and whether it was ever the one that served. */
export interface Life {
  readonly span: Span
  readonly hasServed: boolean
  /** It was launched while the trace was played, and not before its beginning. */
  readonly isNew: boolean
  readonly isAlive: boolean
}

export interface Account {
  /** Of the trace. */
  readonly traced_seconds: number
  readonly capacity_seconds: number
  /** Real seconds in which nobody answered, while the trace had capacity somewhere. */
  readonly outages: number
  readonly outage_seconds: number
  readonly longest_outage_seconds: number
  /** The part of the time with capacity in which somebody served, with each real second of an outage counted once. */
  readonly served_share: number
  /** The same with each real second counted as often as the trace was accelerated. */
  readonly served_share_accelerated: number
  readonly launched: number
  /** Of these, ended without ever having served. */
  readonly wasted: number
  readonly instance_hours: number
  /** Of what one instance on demand costs over the same time. */
  readonly cost_share: number
}

/**
 * @param silences from the last answer before to the first after, in real seconds after the beginning
 * @param speed seconds of the trace in a real second
 * @param spotShare the price of an instance, as a part of its price on demand
 */
export function account(
  schedule: Schedule,
  silences: readonly Span[],
  lives: readonly Life[],
  { speed, spotShare }: { readonly speed: number; readonly spotShare: number },
): Account {
  const spans = capacitySpans(schedule)
  const capacity = lengthOf(spans)
  const outages = silences
    .map(([from, to]) => within([from * speed, to * speed], spans) / speed)
    .filter((seconds) => seconds > 0)
  const outage = outages.reduce((sum, seconds) => sum + seconds, 0)
  const fresh = lives.filter(({ isNew }) => isNew)
  const hours = lives.reduce((sum, { span }) => sum + span[1] - span[0], 0) / 3600
  return {
    traced_seconds: schedule.seconds,
    capacity_seconds: capacity,
    outages: outages.length,
    outage_seconds: outage,
    longest_outage_seconds: Math.max(0, ...outages),
    served_share: capacity > 0 ? 1 - outage / capacity : 1,
    served_share_accelerated: capacity > 0 ? 1 - (outage * speed) / capacity : 1,
    launched: fresh.length,
    wasted: fresh.filter(({ isAlive, hasServed }) => !isAlive && !hasServed).length,
    instance_hours: hours,
    cost_share: (hours * spotShare * 3600) / schedule.seconds,
  }
}

export interface SingleSpot {
  readonly interruptions: number
  readonly outage_seconds: number
  readonly served_share: number
  readonly cost_share: number
}

/**
 * What one spot instance would have done that is started again from its last snapshot, wherever there is capacity, and serves
 * `restart` seconds later. It is paid for from its launch.
 */
export function singleSpot(
  schedule: Schedule,
  {
    restart,
    spotShare,
    seed,
  }: { readonly restart: number; readonly spotShare: number; readonly seed: number },
): SingleSpot {
  const random = seededRandom(seed)
  const spans = capacitySpans(schedule)
  let now = 0
  let served = 0
  let held = 0
  let interruptions = 0
  while (now < schedule.seconds) {
    const zone = slotsAt(schedule, now)[0]?.zone
    const slot = zone === undefined ? undefined : takeSlot(schedule, now, zone, random)
    if (!slot) {
      now = Math.min(schedule.seconds, ...schedule.slots.map(({ from }) => from).filter((from) => from > now))
      continue
    }
    const end = Math.min(slot.to, schedule.seconds)
    served += Math.max(0, end - now - (now === 0 ? 0 : restart))
    held += end - now
    if (slot.to < schedule.seconds) interruptions += 1
    now = end
  }
  const capacity = lengthOf(spans)
  return {
    interruptions,
    outage_seconds: capacity - served,
    served_share: capacity > 0 ? served / capacity : 1,
    cost_share: (held / schedule.seconds) * spotShare,
  }
}
