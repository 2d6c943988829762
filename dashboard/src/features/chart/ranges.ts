import type { Instant } from '@understudy/shared/core/time'
import type { Span } from '../../api/market-calls.ts'

/** How far back a chart looks. */
export const ranges = [
  { name: '24h', words: '24 h', hours: 24 },
  { name: '7d', words: '7 d', hours: 7 * 24 },
  { name: '30d', words: '30 d', hours: 30 * 24 },
  { name: '90d', words: '90 d', hours: 90 * 24 },
] as const
export type Range = (typeof ranges)[number]

export const rangeNamed = (name: string | undefined): Range =>
  ranges.find((range) => range.name === name) ?? ranges[0]

const BUCKET = 300_000

/** Up to the bucket of now, in whole buckets. */
export function spanOf(range: Range, now: Instant): Span {
  const to = (Math.floor(now / BUCKET) + 1) * BUCKET
  return { from: new Date(to - range.hours * 3_600_000).toISOString(), to: new Date(to).toISOString() }
}
