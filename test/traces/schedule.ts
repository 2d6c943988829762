import { pick, type Random, seededRandom } from '@understudy/shared/core/random'

/** Capacity in one zone from `from` to `to`, in seconds of the trace after the beginning of what is played. */
export interface Slot {
  readonly zone: string
  readonly from: number
  readonly to: number
}

export interface Schedule {
  /** Its whole length, in seconds of the trace. */
  readonly seconds: number
  /** In the order of their names. */
  readonly zones: readonly string[]
  readonly slots: readonly Slot[]
}

/** From when until when, in seconds of the trace. */
export type Span = readonly [from: number, to: number]

/** Slots of a zone from the number of instances that could be had at each tick: one for as long as there were any. */
export function slotsOf(zone: string, gapSeconds: number, counts: readonly number[]): readonly Slot[] {
  const slots: Slot[] = []
  let begun: number | undefined
  for (let tick = 0; tick <= counts.length; tick += 1) {
    const isUp = (counts[tick] ?? 0) > 0
    if (isUp && begun === undefined) begun = tick
    if (isUp || begun === undefined) continue
    slots.push({ zone, from: begun * gapSeconds, to: tick * gapSeconds })
    begun = undefined
  }
  return slots
}

/**
 * `seconds` of a trace, or all of it where it is shorter, beginning by `seed` at a moment when there is capacity. What a slot had
 * before is cut off.
 */
export function cutStretch(
  whole: Schedule,
  seconds: number,
  seed: number,
): { readonly from: number; readonly schedule: Schedule } {
  const length = Math.min(seconds, whole.seconds)
  const at = Math.floor(seededRandom(seed)() * (whole.seconds - length))
  const ahead = whole.slots.filter(({ to, from }) => to > at && from <= whole.seconds - length)
  const from = Math.max(at, Math.min(...ahead.map((slot) => slot.from), whole.seconds - length))
  const slots = whole.slots
    .filter((slot) => slot.to > from && slot.from < from + length)
    .map((slot) => ({
      zone: slot.zone,
      from: Math.max(0, slot.from - from),
      // What goes on after the end is not taken away at the end.
      to: slot.to >= from + length ? Number.POSITIVE_INFINITY : slot.to - from,
    }))
  return { from, schedule: { seconds: length, zones: whole.zones, slots } }
}

/**
 * Of `draws` stretches by `seed` the one in which capacity is taken away most often: in most hours of a trace nothing happens.
 */
export function harshestStretch(
  whole: Schedule,
  seconds: number,
  seed: number,
  draws: number,
): ReturnType<typeof cutStretch> {
  const drawn = Array.from({ length: draws }, (_, index) => cutStretch(whole, seconds, seed * draws + index))
  const [harshest] = drawn.sort((a, b) => endsIn(b.schedule) - endsIn(a.schedule))
  return harshest ?? cutStretch(whole, seconds, seed)
}

/** How often capacity is taken away. */
export const endsIn = ({ slots }: Schedule): number => slots.filter(({ to }) => Number.isFinite(to)).length

export const slotsAt = ({ slots }: Schedule, at: number, zone?: string): readonly Slot[] =>
  slots.filter((slot) => slot.from <= at && at < slot.to && (zone === undefined || slot.zone === zone))

/** One of the slots that a new instance in the zone may get; undefined when there is no capacity. */
export function takeSlot(schedule: Schedule, at: number, zone: string, random: Random): Slot | undefined {
  const open = slotsAt(schedule, at, zone)
  return open.length > 0 ? pick(random, open) : undefined
}

/** When any zone has capacity: spans that do not touch, in order. */
export function capacitySpans({ slots, seconds }: Schedule): readonly Span[] {
  const sorted = slots.map(({ from, to }): Span => [from, Math.min(to, seconds)]).sort((a, b) => a[0] - b[0])
  const spans: [number, number][] = []
  for (const [from, to] of sorted) {
    const last = spans.at(-1)
    if (last && from <= last[1]) last[1] = Math.max(last[1], to)
    else spans.push([from, to])
  }
  return spans
}

export const lengthOf = (spans: readonly Span[]): number =>
  spans.reduce((sum, [from, to]) => sum + to - from, 0)

/** What of `span` lies in `spans`, in seconds. */
export const within = ([from, to]: Span, spans: readonly Span[]): number =>
  spans.reduce((sum, [begin, end]) => sum + Math.max(0, Math.min(to, end) - Math.max(from, begin)), 0)
