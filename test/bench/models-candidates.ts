import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Models } from '../../coordinator/src/models/models.ts'
import { microUsd } from '../../shared/src/core/money.ts'
import { seededRandom } from '../../shared/src/core/random.ts'
import { instant } from '../../shared/src/core/time.ts'
import { createFeatureTable, type PoolPrices } from '../../shared/src/market/features.ts'
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

/** Features of all candidates from a week of prices each, and their probabilities by the active model. */
export async function timeCandidates(models: Models, rows: number, runs: number): Promise<CandidateTimes> {
  const table = createFeatureTable(candidates(rows))
  const out = new Float32Array(rows * table.names.length)
  const features: number[] = []
  const whole: number[] = []
  for (let run = 0; run < runs; run += 1) {
    const start = performance.now()
    table.rowsAt(instant(T0 + run * 300_000), out)
    features.push(performance.now() - start)
    await models.predict(out)
    whole.push(performance.now() - start)
  }
  return { rows, features, whole }
}

/** Pools of families of 25 with about 30 changes of price in the week before. */
function candidates(count: number): PoolPrices[] {
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
    return {
      pool: { instanceType, availabilityZone },
      path: toPricePath(events),
      onDemand: microUsd(200_000),
    }
  })
}

const SCRIPT = fileURLToPath(new URL('models-lightgbm.py', import.meta.url))
const start = promisify(execFile)

interface LightGbm {
  readonly version: string
  readonly trees: number
  readonly sizes: readonly { readonly rows: number; readonly millis: readonly number[] }[]
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
