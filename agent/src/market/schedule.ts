import { createHash } from 'node:crypto'
import { type Instant, instant, type Millis, millis } from '@understudy/shared/core/time'
import type { SampledAs } from './price-lines.ts'

/**
 * When prices are looked at. Slots begin with the buckets in which prices are kept, and each instance is late by a
 * time of its own, so that a fleet does not ask all at once. Pure.
 */

/** How late an instance is: a fifth of the interval or a minute at most, always the same for the same instance. */
export function latenessOf(instance: string, interval: Millis): Millis {
  const part = createHash('sha256').update(instance).digest().readUInt32BE(0) / 2 ** 32
  return millis(Math.floor(part * Math.min(60_000, interval / 5)))
}

export interface Slots {
  readonly interval: Millis
  readonly lateness: Millis
}

export const slotOf = (at: Instant, { interval, lateness }: Slots): number =>
  Math.floor((at - lateness) / interval)

export const startOf = (slot: number, { interval, lateness }: Slots): Instant =>
  instant(slot * interval + lateness)

export interface Look {
  readonly slot: number
  readonly as: SampledAs
}

/** One look per slot, and one more when a replica has become primary: a primary's price counts more. */
export const isDue = (last: Look | undefined, next: Look): boolean =>
  last === undefined || last.slot !== next.slot || (last.as === 'replica' && next.as === 'primary')
