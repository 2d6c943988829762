import {
  epochSchema,
  incidentIdSchema,
  instanceIdSchema,
  poolIdSchema,
  timeSchema,
} from '@understudy/shared/protocol/primitives'
import { z } from 'zod'

/** What the files of the record hold: one JSON object per line, oldest first. */

const MAX_SWITCHES = 1000
/** One hour of one sample per pool and five minutes, for more pools than a region has. */
const MAX_PRICES = 20_000
const PRICES_KEPT_MILLIS = 3_600_000

export const switchSchema = z.object({
  /** `primary`: it became primary of the epoch. `hand-over`: it began to give it to `to`; `called-off`: it kept it. */
  kind: z.enum(['primary', 'hand-over', 'called-off']),
  epoch: epochSchema,
  /** By the wall clock of the instance that wrote it. */
  at: timeSchema,
  instance: instanceIdSchema,
  incident: incidentIdSchema.optional(),
  to: instanceIdSchema.optional(),
  /** The hand-over was because of a notice. */
  urgent: z.boolean().optional(),
  /** It began with nothing: no whole copy was left. */
  fresh: z.boolean().optional(),
})
/** Something that happened to the epoch, as the instance that owned it saw it. */
export type Switch = z.infer<typeof switchSchema>

const priceSampleSchema = z.object({
  pool: poolIdSchema,
  at: timeSchema,
  /** Dollars for one hour. */
  usd: z.number().nonnegative(),
})
export type PriceSample = z.infer<typeof priceSampleSchema>

export const parseSwitches = (text: string): Switch[] => parseLines(text, switchSchema)
export const parsePrices = (text: string): PriceSample[] => parseLines(text, priceSampleSchema)

/** Lines that a crash or a hand has damaged are left out; the others count. */
function parseLines<T>(text: string, schema: z.ZodType<T>): T[] {
  return text.split('\n').flatMap((line) => {
    try {
      const parsed = schema.safeParse(JSON.parse(line))
      return parsed.success ? [parsed.data] : []
    } catch {
      return []
    }
  })
}

export const toLines = (values: readonly unknown[]): string =>
  values.map((value) => `${JSON.stringify(value)}\n`).join('')

export const boundedSwitches = (switches: readonly Switch[]): Switch[] => switches.slice(-MAX_SWITCHES)

/** The samples of the last hour before `now` (UTC milliseconds), oldest first, one per pool and moment: the later one counts. */
export function boundedPrices(samples: readonly PriceSample[], now: number): PriceSample[] {
  const kept = new Map<string, PriceSample>()
  for (const sample of samples) {
    const at = Date.parse(sample.at)
    if (at >= now - PRICES_KEPT_MILLIS && at <= now + PRICES_KEPT_MILLIS)
      kept.set(`${sample.pool} ${at}`, sample)
  }
  return [...kept.values()].sort((a, b) => Date.parse(a.at) - Date.parse(b.at)).slice(-MAX_PRICES)
}
