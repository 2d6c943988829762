import { formatMillis } from '@understudy/shared/core/time'

/** What stands where nothing is known. */
export const NOTHING = '–'

/** A length of time that was measured; below one millisecond it is not rounded up to one. */
export const formatTook = (millis: number): string =>
  millis > 0 && millis < 1 ? '< 1 ms' : formatMillis(millis)

/** A moment of an incident: `T+1.88 s` after detection, `T−3.02 s` before it. */
export const formatT = (millis: number): string =>
  millis <= -0.5 ? `T−${formatMillis(-millis)}` : `T+${formatMillis(Math.max(0, millis))}`

/** How old something is, for things that are live: tenths below ten seconds, then whole units. */
export function formatAge(millis: number): string {
  const seconds = Math.max(0, millis) / 1000
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

const units = ['B', 'KB', 'MB', 'GB', 'TB'] as const

/** Powers of a thousand, as disks and networks count. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1
  return `${value.toFixed(digits)} ${units[unit]}`
}

export const formatCount = (count: number): string => count.toLocaleString('en-US')

/** `3 agents`, `1 agent`. */
export const formatNumberOf = (count: number, one: string, many = `${one}s`): string =>
  `${formatCount(count)} ${count === 1 ? one : many}`

/** Dollars per hour as the Spot market quotes them; the column or the sentence says the unit. */
export const formatPrice = (usd: number | null): string => (usd === null ? NOTHING : usd.toFixed(4))

/** A share of 1 in per cent, with as many digits as it has to say: `0.04%`, `1.2%`, `38%`. */
export function formatShare(share: number | null): string {
  if (share === null) return NOTHING
  const percent = share * 100
  const size = Math.abs(percent)
  return `${percent.toFixed(size === 0 || size >= 9.95 ? 0 : size >= 0.95 ? 1 : 2)}%`
}

/** An amount of money, as on a bill; a negative one with a real minus sign. */
export const formatUsd = (usd: number): string =>
  `${usd < 0 ? '−' : ''}$${Math.abs(usd).toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`

/** `2026-11-21` */
export const formatDate = (time: string): string => new Date(time).toISOString().slice(0, 10)

/** `14:02:07 UTC` */
export const formatClock = (time: string): string => `${new Date(time).toISOString().slice(11, 19)} UTC`

/** `2026-11-21 14:02:07 UTC` */
export const formatDay = (time: string): string =>
  `${new Date(time).toISOString().slice(0, 10)} ${formatClock(time)}`

/** The same moment where the reader is, always with its zone. */
export const formatLocal = (time: string): string =>
  new Date(time).toLocaleString('en-GB', {
    dateStyle: 'medium',
    timeStyle: 'medium',
    hour12: false,
    timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  })

/** `m5.large@us-east-1a` → `m5.large · us-east-1a`. */
export const formatPool = (pool: string | null): string => pool?.replace('@', ' · ') ?? NOTHING

/** `m5.large@us-east-1a` → `us-east-1a`. */
export const zoneOf = (pool: string): string => pool.slice(pool.indexOf('@') + 1)

/**
 * A clause of the coordinator as a sentence of its own. A name at its beginning, such as an instance's, stays as it is.
 */
export const asSentence = (clause: string): string => {
  const text = clause.replace(/^[a-z]+(?=[\s,:])/, (word) => word.charAt(0).toUpperCase() + word.slice(1))
  return /[.!?…]$/.test(text) ? text : `${text}.`
}

/** Running text in which no figure is parted from its unit at the end of a line. */
export const keepUnits = (text: string): string => text.replaceAll(/(\d) (ms|s|MB|KB|B)\b/g, '$1\u00a0$2')
