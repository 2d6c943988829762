import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Models } from '../../coordinator/src/models/models.ts'
import { createPoolFeatures } from '../../coordinator/src/models/pool-features.ts'
import type { PricedPool } from '../../coordinator/src/models/pool-prices.ts'
import { microUsd } from '../../shared/src/core/money.ts'
import { seededRandom } from '../../shared/src/core/random.ts'
import { instant } from '../../shared/src/core/time.ts'
import { poolId } from '../../shared/src/market/pool.ts'
import { toPricePath } from '../../shared/src/market/price-path.ts'

const T0 = Date.UTC(2025, 0, 8)
const HOUR = 3_600_000
const ZONES = ['a', 'b', 'c', 'd', 'e']
const SIZES = ['large', 'xlarge', '2xlarge', '4xlarge', '8xlarge']

export interface CandidateTimes {
  readonly rows: number
  /** In milliseconds. */
  readonly features: readonly number[]
  readonly whole: readonly number[]
}

/** Before times are taken: a coordinator is asked every five minutes for months. */
const WARM_UP = 20

/** Features of all candidates from a week of prices each, and their probabilities by the active model, as `Scorer` makes them. */
export async function timeCandidates(models: Models, rows: number, runs: number): Promise<CandidateTimes> {
  const { manifest } = models.serving.active ?? noModel()
  const pools = candidates(rows)
  const table = createPoolFeatures({ inRegion: () => pools }, () => microUsd(200_000))
  const features: number[] = []
  const whole: number[] = []
  for (let run = -WARM_UP; run < runs; run += 1) {
    const start = performance.now()
    const { values } = table.rows(manifest, 'us-east-1', instant(T0 + run * 300_000))
    const made = performance.now()
    const { p } = await models.predict(values)
    if (p.length !== rows) throw new Error(`${p.length} of ${rows} candidates have a probability`)
    if (run < 0) continue
    features.push(made - start)
    whole.push(performance.now() - start)
  }
  return { rows, features, whole }
}

function noModel(): never {
  throw new Error('no model is active')
}

/** Pools of families of 25 with about 30 changes of price in the week before. */
function candidates(count: number): PricedPool[] {
  const random = seededRandom(count)
  return Array.from({ length: count }, (_, i) => {
    const family = `m${Math.floor(i / 25) + 1}`
    const instanceType = `${family}.${SIZES[i % 5]}`
    const availabilityZone = `us-east-1${ZONES[Math.floor(i / 5) % 5]}`
    let price = 50_000
    const events = Array.from({ length: 31 }, (_event, n) => {
      price = Math.max(1000, Math.round(price * (0.97 + 0.06 * random())))
      return { at: instant(T0 - 175 * HOUR + n * 5.8 * HOUR), price: microUsd(price) }
    })
    const pool = { instanceType, availabilityZone }
    return {
      ...{ id: poolId(pool), pool },
      known: { path: toPricePath(events), from: instant(0), until: instant(T0 + 24 * 7 * HOUR), bridged: [] },
    }
  })
}

const SCRIPT = fileURLToPath(new URL('models-lightgbm.py', import.meta.url))
const start = promisify(execFile)

interface LightGbm {
  readonly version: string
  readonly trees: number
  readonly sizes: readonly {
    readonly rows: number
    readonly threads: number
    readonly millis: readonly number[]
  }[]
}

/** LightGBM's own predict with as many trees; undefined where that Python does not have it. */
export async function timeLightGbm(
  python: string,
  of: { trees: number; features: number; runs: number; sizes: readonly number[] },
): Promise<LightGbm | undefined> {
  try {
    await start(python, ['-c', 'import lightgbm, numpy'])
  } catch {
    return undefined
  }
  const numbers = [of.trees, of.features, of.runs, ...of.sizes].map(String)
  const { stdout } = await start(python, [SCRIPT, ...numbers], { maxBuffer: 64 * 1024 * 1024 })
  return JSON.parse(stdout) as LightGbm
}
