import { type Instant, instant, type Millis, millis } from '../core/time.ts'

/** Half-open: `from` belongs to it, `to` does not. One that does not end after it starts is empty. */
export interface Interval {
  readonly from: Instant
  readonly to: Instant
}

/**
 * The same times in the one form that the rest of this file returns: in order, disjoint, none empty, and merged where
 * one ends as the next starts.
 */
export function normalise(intervals: readonly Interval[]): Interval[] {
  const merged: { from: Instant; to: Instant }[] = []
  for (const { from, to } of inOrder(intervals)) {
    if (!(from < to)) continue
    const last = merged.at(-1)
    if (last && from <= last.to) last.to = instant(Math.max(last.to, to))
    else merged.push({ from, to })
  }
  return merged
}

/** All that is in `a` or in `b`. */
export const union = (a: readonly Interval[], b: readonly Interval[]): Interval[] => normalise([...a, ...b])

/** All that is in `a` and not in `b`. */
export function minus(a: readonly Interval[], b: readonly Interval[]): Interval[] {
  const holes = normalise(b)
  const left: Interval[] = []
  let next = 0
  for (const { from, to } of normalise(a)) {
    let start = from
    while (next < holes.length && (holes[next] as Interval).to <= start) next++
    for (let i = next; i < holes.length; i++) {
      const hole = holes[i] as Interval
      if (hole.from >= to) break
      if (hole.from > start) left.push({ from: start, to: hole.from })
      start = hole.to
    }
    if (start < to) left.push({ from: start, to })
  }
  return left
}

/** All that is both in `a` and in `b`. */
export function intersect(a: readonly Interval[], b: readonly Interval[]): Interval[] {
  const left = normalise(a)
  const right = normalise(b)
  const both: Interval[] = []
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    const x = left[i] as Interval
    const y = right[j] as Interval
    const from = instant(Math.max(x.from, y.from))
    const to = instant(Math.min(x.to, y.to))
    if (from < to) both.push({ from, to })
    if (x.to < y.to) i++
    else j++
  }
  return both
}

/** How much time the intervals hold; what several of them hold counts once. */
export const lengthOf = (intervals: readonly Interval[]): Millis =>
  millis(normalise(intervals).reduce((sum, { from, to }) => sum + (to - from), 0))

/** Sorting is what costs here, and stored coverage comes sorted. */
function inOrder(intervals: readonly Interval[]): readonly Interval[] {
  for (let i = 1; i < intervals.length; i++)
    if ((intervals[i] as Interval).from < (intervals[i - 1] as Interval).from)
      return [...intervals].sort((a, b) => a.from - b.from)
  return intervals
}
