import { isPoolId } from '@understudy/shared/market/pool'

/** What a file of prices holds: one sample per line, as JSON, oldest first. */
export interface PriceSample {
  readonly pool: string
  /** RFC 3339 in UTC. */
  readonly at: string
  /** Dollars for one hour. */
  readonly usd: number
  /** Which instance took it, and as what; samples without both are never sent. */
  readonly instance?: string
  readonly role?: SampledAs
  /** The coordinator has it. */
  readonly sent?: true
}
export type SampledAs = 'primary' | 'replica'

/** What has been sent is kept for this long before now, in milliseconds: the last hour of prices of the record. */
const RECENT = 3_600_000
/** What waits for a coordinator is kept for this long, in milliseconds. */
const PATIENCE = 7 * 24 * 3_600_000
/** Some 2.5 MB: a week of 10 pools, or two days of 30. */
export const MOST_SAMPLES = 20_000

export const waits = ({ instance, role, sent }: PriceSample): boolean =>
  instance !== undefined && role !== undefined && sent === undefined

/** Lines that a crash or a hand has damaged are left out; the others count. */
export const parsePrices = (text: string): PriceSample[] =>
  text.split('\n').flatMap((line) => parseLine(line) ?? [])

function parseLine(line: string): PriceSample | undefined {
  if (!line.startsWith('{')) return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch {
    return undefined
  }
  const { pool, at, usd, instance, role, sent } = parsed as Record<string, unknown>
  if (typeof pool !== 'string' || !isPoolId(pool)) return undefined
  if (typeof at !== 'string' || !TIME.test(at) || Number.isNaN(Date.parse(at))) return undefined
  if (typeof usd !== 'number' || !(usd >= 0)) return undefined
  return {
    pool,
    at,
    usd,
    ...(typeof instance === 'string' ? { instance } : {}),
    ...(role === 'primary' || role === 'replica' ? { role } : {}),
    ...(sent === true ? { sent } : {}),
  }
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/

export const toPriceLines = (samples: readonly PriceSample[]): string =>
  samples.map((sample) => `${JSON.stringify(sample)}\n`).join('')

/** The same moment of the same pool by the same instance is one sample. */
const keyOf = ({ pool, at, instance }: PriceSample): string => `${pool} ${Date.parse(at)} ${instance ?? ''}`

export interface Bounded {
  /** Oldest first. */
  readonly kept: PriceSample[]
  /** How many of those that waited were too old or too many. */
  readonly dropped: number
}

/**
 * What is worth keeping at `now` (UTC milliseconds): the last hour, and what waits. Where that is too much, what has
 * been sent goes first, then the oldest. Given twice a sample counts once, as sent if either was.
 */
export function boundedPrices(samples: readonly PriceSample[], now: number): Bounded {
  const each = new Map<string, PriceSample>()
  for (const sample of samples) {
    const key = keyOf(sample)
    const known = each.get(key)
    each.set(key, known?.sent && !sample.sent ? { ...sample, sent: true } : sample)
  }
  const worth = [...each.values()].filter((sample) => {
    const age = now - Date.parse(sample.at)
    return waits(sample) ? age <= PATIENCE : Math.abs(age) <= RECENT
  })
  const room = Math.max(0, MOST_SAMPLES - worth.filter(waits).length)
  const others = new Set(
    newest(
      worth.filter((sample) => !waits(sample)),
      room,
    ),
  )
  const waiting = new Set(newest(worth.filter(waits), MOST_SAMPLES))
  const before = [...each.values()].filter(waits).length
  return {
    kept: byTime(worth.filter((sample) => others.has(sample) || waiting.has(sample))),
    dropped: before - waiting.size,
  }
}

/** The samples of the last hour before `now`, oldest first. */
export const lastHour = (samples: readonly PriceSample[], now: number): PriceSample[] =>
  boundedPrices(samples, now).kept.filter(({ at }) => Math.abs(now - Date.parse(at)) <= RECENT)

const byTime = (samples: PriceSample[]): PriceSample[] =>
  samples.sort((a, b) => Date.parse(a.at) - Date.parse(b.at))

const newest = (samples: PriceSample[], most: number): PriceSample[] =>
  most === 0 ? [] : byTime(samples).slice(-most)
