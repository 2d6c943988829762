import { AppError } from '@understudy/shared/core/app-error'
import { type InterruptionBand, interruptionBands } from '@understudy/shared/market/pool'
import { z } from 'zod'

/** One line of the Spot Advisor: how often instances of a type were interrupted in a month, and how far below on-demand. */
export interface AdvisorEntry {
  readonly instanceType: string
  readonly region: string
  readonly os: 'Linux' | 'Windows'
  readonly band: InterruptionBand
  /** Below zero where spot cost more than on-demand. */
  readonly savingsPercent: number
}

export interface AdvisorFile {
  readonly entries: readonly AdvisorEntry[]
  /** Entries that make no sense; the rest is kept. */
  readonly refused: number
}

const fileSchema = z.object({
  ranges: z.array(z.object({ index: z.int(), label: z.string(), max: z.number() })),
  spot_advisor: z.record(z.string(), z.record(z.string(), z.record(z.string(), z.unknown()))),
})
const entrySchema = z.object({ r: z.int().min(0).max(4), s: z.int().min(-1000).max(100) })
const REGION = /^[a-z]{2,4}(-[a-z]+)+-\d+$/
const INSTANCE_TYPE = /^[a-z0-9-]+\.[a-z0-9-]+$/
/** The file of 2022 has 9,000 entries, that of 2025 30,000. One that was cut and mended would have few. */
const FEWEST_ENTRIES = 100
const MOST_REFUSED = 0.05

/**
 * Reads https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json. What the numbers mean is written in the file
 * itself: five `ranges`, which must be those that we know, or a band would silently come to mean something else.
 * @throws AppError `protocol`
 */
export function parseSpotAdvisor(text: string): AdvisorFile {
  const parsed = fileSchema.safeParse(parseJson(text))
  if (!parsed.success) throw unusable(`it lacks ${z.prettifyError(parsed.error).slice(0, 200)}`)
  checkRanges(parsed.data.ranges)
  const entries: AdvisorEntry[] = []
  let refused = 0
  for (const [region, systems] of Object.entries(parsed.data.spot_advisor))
    for (const os of ['Linux', 'Windows'] as const)
      for (const [instanceType, given] of Object.entries(systems[os] ?? {})) {
        const entry = entrySchema.safeParse(given)
        if (!entry.success || !REGION.test(region) || !INSTANCE_TYPE.test(instanceType)) refused += 1
        else
          entries.push({
            instanceType,
            region,
            os,
            band: entry.data.r as InterruptionBand,
            savingsPercent: entry.data.s,
          })
      }
  if (entries.length < FEWEST_ENTRIES) throw unusable(`it has only ${entries.length} entries`)
  if (refused > (entries.length + refused) * MOST_REFUSED)
    throw unusable(`${refused} of ${entries.length + refused} entries make no sense`)
  return { entries, refused }
}

function checkRanges(ranges: readonly { index: number; label: string }[]): void {
  const labels = [...ranges].sort((a, b) => a.index - b.index).map(({ label }) => label)
  const indexes = new Set(ranges.map(({ index }) => index))
  const same =
    labels.length === interruptionBands.length && labels.every((label, i) => label === interruptionBands[i])
  if (same && interruptionBands.every((_, i) => indexes.has(i))) return
  throw unusable(`its bands are ${labels.join(', ').slice(0, 200)} and not ${interruptionBands.join(', ')}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw unusable('it is no JSON, or was cut off', cause)
  }
}

const unusable = (why: string, cause?: unknown): AppError =>
  new AppError('protocol', `the Spot Advisor file cannot be used: ${why}`, {
    hint: 'The last good file stays in use.',
    cause,
  })
