import { type Instant, instant } from '../core/time.ts'

export type TimeRefusalCode = 'time_malformed' | 'time_without_zone'

/** Why a time was not understood, as one sentence. */
export interface TimeRefusal {
  readonly code: TimeRefusalCode
  readonly reason: string
}

const ISO = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?([Zz]|[+-]\d\d:?\d\d)?$/

/**
 * RFC 3339 to an instant; below a millisecond is cut off. Stricter than `Date.parse`, which takes 30 February for
 * 2 March and a time without an offset for the time zone of whatever machine reads it.
 */
export function parseTimestamp(text: string): Instant | TimeRefusal {
  const match = ISO.exec(text)
  if (!match) return malformed(text, 'is not a time such as 2025-11-20T10:05:00Z')
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as Six
  if (second === 60)
    return malformed(text, 'is a leap second, which UTC milliseconds cannot hold; give 23:59:59 or 00:00:00')
  if (day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59)
    return malformed(text, 'is not on the calendar or the clock')
  const offset = match[8]
  if (offset === undefined)
    return {
      code: 'time_without_zone',
      reason: `"${shown(text)}" has no UTC offset, so it could be any of several times; end it with Z or +05:30`,
    }
  const ahead = offsetMinutes(offset)
  if (ahead === undefined) return malformed(text, 'has a UTC offset that no place on Earth has')
  const millisecond = Number((match[7] ?? '').slice(0, 3).padEnd(3, '0'))
  return instant(Date.UTC(year, month - 1, day, hour, minute, second, millisecond) - ahead * 60_000)
}

type Six = [number, number, number, number, number, number]

/** Days of that month, 0 where there is no such month. */
const daysIn = (year: number, month: number): number =>
  month < 1 || month > 12 ? 0 : new Date(Date.UTC(year, month, 0)).getUTCDate()

/** Minutes ahead of UTC, or undefined beyond the 18 hours that java.time and PostgreSQL's peers allow. */
function offsetMinutes(offset: string): number | undefined {
  if (offset === 'Z' || offset === 'z') return 0
  const hours = Number(offset.slice(1, 3))
  const minutes = Number(offset.slice(-2))
  if (minutes > 59 || hours * 60 + minutes > 18 * 60) return undefined
  return (offset.startsWith('-') ? -1 : 1) * (hours * 60 + minutes)
}

const malformed = (text: string, why: string): TimeRefusal => ({
  code: 'time_malformed',
  reason: `"${shown(text)}" ${why}`,
})

const shown = (text: string): string => text.slice(0, 40)
