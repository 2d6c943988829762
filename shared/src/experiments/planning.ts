import { type Random, seededRandom } from '../core/random.ts'
import { hours, type Millis } from '../core/time.ts'
import { halfWidth, type Sequence } from './confidence-sequence.ts'

/** How long an experiment will take, shown before it is started. */
export interface RateEstimate {
  /** Events until a verdict in half and in four fifths of all runs; null: more than `MOST_EVENTS`. */
  readonly medianEvents: number | null
  readonly p80Events: number | null
  readonly eventsPerMonth: number
  readonly medianMonths: number | null
}

const MOST_EVENTS = 5000
const RUNS = 401
const DAY = hours(24)

/**
 * By playing it through: units are divided by `share`, those of control have `perMonth` events each, and those of the
 * treatment `ratio` times as many.
 * @param ratio 0.5: the treatment halves the rate
 */
export function estimateRates(
  { units, share, perMonth, ratio }: { units: number; share: number; perMonth: number; ratio: number },
  alpha: number,
): RateEstimate {
  const eventsPerMonth = units * perMonth * (1 - share + share * ratio)
  const stops = eventsToStop({ share, ratio, alpha }, seededRandom(1))
  const median = stops[Math.floor(RUNS / 2)] as number
  const p80 = stops[Math.floor(RUNS * 0.8)] as number
  const known = (events: number) => (events > MOST_EVENTS ? null : events)
  return {
    medianEvents: known(median),
    p80Events: known(p80),
    eventsPerMonth,
    medianMonths: known(median) === null || eventsPerMonth === 0 ? null : median / eventsPerMonth,
  }
}

/** Events until the e-value rejects, of each run, the fewest first. */
function eventsToStop(
  { share, ratio, alpha }: { share: number; ratio: number; alpha: number },
  random: Random,
): number[] {
  const real = (share * ratio) / (1 - share + share * ratio)
  const enough = Math.log(1 / alpha)
  return Array.from({ length: RUNS }, () => {
    let log = 0
    let treatment = 0
    for (let n = 0; n < MOST_EVENTS; n += 1) {
      if (log >= enough) return n
      const hit = random() < real
      const predicted = (treatment + 1) / (n + 2)
      log += Math.log(hit ? predicted / share : (1 - predicted) / (1 - share))
      if (hit) treatment += 1
    }
    return MOST_EVENTS + 1
  }).sort((a, b) => a - b)
}

export interface BlockEstimate {
  readonly blocksPerDay: number
  readonly minBlocksDays: number
  readonly plannedDays: number
  /** At the planned number of blocks, as a multiple of the standard deviation between blocks. */
  readonly halfWidthSd: number
}

/** Of paired losses. @param groups pool groups (family and region) that are scored */
export function estimateBlocks(groups: number, blockLength: Millis, sequence: Sequence): BlockEstimate {
  const blocksPerDay = groups * (DAY / blockLength)
  const daysFor = (blocks: number) => Math.max(7, blocks / blocksPerDay)
  return {
    blocksPerDay,
    minBlocksDays: daysFor(30),
    plannedDays: daysFor(sequence.planned),
    halfWidthSd: halfWidth(sequence.planned, sequence),
  }
}
