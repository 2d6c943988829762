import { type Random, randomInt, seededRandom } from '../../shared/src/core/random.ts'
import { poolId } from '../../shared/src/market/pool.ts'
import type { Row } from './interruption-rows.ts'

export interface Score {
  readonly logLoss: number
  readonly brier: number
  /** Mean of what was predicted over the share that was interrupted: 1 is calibrated in the large. */
  readonly calibration: number
  /** Log loss less that of the constant: below 0 is better. */
  readonly overConstant: Difference
  /** Log loss less that of own history without multipliers, frozen at the split. */
  readonly overOwn: Difference
}

export interface Difference {
  readonly mean: number
  /** 95 % of the bootstrap lies between them; null where there are too few blocks to draw from. */
  readonly interval: readonly [low: number, high: number] | null
}

/** Neither estimate nor constant may be certain: a certain one that is wrong would have no finite loss. */
const CERTAIN = 1e-9
const BLOCK_HOURS = 12
const RESAMPLES = 1000
const FEWEST_BLOCKS = 5

/** Measures of probabilities against what came, and against those of others. Blocks of one pool and 12 h are resampled. */
export function scoreOf(
  rows: readonly Row[],
  values: readonly number[],
  others: { readonly constant: readonly number[]; readonly own: readonly number[] },
): Score {
  const lossesOf = (of: readonly number[]) => rows.map((row, i) => lossOf(row, of[i] as number))
  const losses = lossesOf(values)
  const less = (other: readonly number[]): Difference => {
    const theirs = lossesOf(other)
    const differences = losses.map((loss, i) => loss - (theirs[i] as number))
    return { mean: mean(differences), interval: bootstrap(rows, differences, seededRandom(1)) }
  }
  const seen = mean(rows.map(({ interrupted }) => Number(interrupted)))
  return {
    logLoss: mean(losses),
    brier: mean(rows.map(({ interrupted }, i) => ((values[i] as number) - Number(interrupted)) ** 2)),
    calibration: mean(values) / seen,
    overConstant: less(others.constant),
    overOwn: less(others.own),
  }
}

function lossOf({ interrupted }: Row, value: number): number {
  const p = Math.min(1 - CERTAIN, Math.max(CERTAIN, value))
  return -Math.log(interrupted ? p : 1 - p)
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

function bootstrap(
  rows: readonly Row[],
  differences: readonly number[],
  random: Random,
): Difference['interval'] {
  const blocks = [
    ...Map.groupBy(rows.keys(), (i) => {
      const { pool, at } = rows[i] as Row
      return `${poolId(pool)} ${Math.floor(at / BLOCK_HOURS)}`
    }).values(),
  ].map((own) => ({ sum: own.reduce((sum, i) => sum + (differences[i] as number), 0), count: own.length }))
  if (blocks.length < FEWEST_BLOCKS) return null
  const means = Array.from({ length: RESAMPLES }, () => {
    let sum = 0
    let count = 0
    for (let i = 0; i < blocks.length; i += 1) {
      const block = blocks[randomInt(random, 0, blocks.length - 1)] as (typeof blocks)[number]
      sum += block.sum
      count += block.count
    }
    return sum / count
  }).sort((a, b) => a - b)
  const at = (share: number) => means[Math.floor(share * RESAMPLES)] as number
  return [at(0.025), at(0.975)]
}
