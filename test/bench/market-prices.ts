import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { type MicroUsd, microUsd, toUsd } from '@understudy/shared/core/money'
import { type Random, randomInt, seededRandom } from '@understudy/shared/core/random'
import { type Instant, instant, millis } from '@understudy/shared/core/time'
import { BUCKET } from '@understudy/shared/market/bucket'
import { parsePool } from '@understudy/shared/market/pool'

/** Prices as EC2's look, made from a seed: the same seed, the same prices. */

export const DAY = millis(86_400_000)
const BUCKETS_OF_A_DAY = DAY / BUCKET

const REGIONS = ['ap-south-1', 'eu-central-1', 'us-east-1', 'us-west-2']
const FAMILIES = 'c5 c5a c5d c6g c6i c7g m5 m5a m5d m6g m6i m7g r5 r5a r5d r6g r6i r7g t3 t3a'.split(' ')
const SIZES = 'large xlarge 2xlarge 4xlarge 8xlarge 16xlarge'.split(' ')
const ZONES = ['a', 'b', 'c']

/** The zones of a type are next to each other, so that peers are among any first few. */
export function poolIds(count: number): string[] {
  const ids = REGIONS.flatMap((region) =>
    FAMILIES.flatMap((family) =>
      SIZES.flatMap((size) => ZONES.map((zone) => `${family}.${size}@${region}${zone}`)),
    ),
  )
  if (count > ids.length) throw new Error(`${count} pools are asked for: ${ids.length} can be made up`)
  return ids.slice(0, count)
}

/** In which buckets the price of a pool changes, about five times a day by up to 3 %. */
export function priceChanges(
  pool: number,
  buckets: number,
  seed: number,
): { readonly bucket: number; readonly price: MicroUsd }[] {
  const random = seededRandom(seed * 1_000_003 + pool)
  const base = randomInt(random, 10_000, 3_000_000)
  const changes = [{ bucket: 0, price: microUsd(base) }]
  let factor = 1
  for (let bucket = pause(random); bucket < buckets; bucket += pause(random)) {
    factor = Math.min(2, Math.max(0.5, factor * (0.97 + 0.06 * random())))
    changes.push({ bucket, price: microUsd(Math.round((base * factor) / 100) * 100) })
  }
  return changes
}

const pause = (random: Random): number => randomInt(random, 1, 2 * (BUCKETS_OF_A_DAY / 5))

/** The price of every bucket. */
export function pricesOf(pool: number, buckets: number, seed: number): Int32Array {
  const prices = new Int32Array(buckets)
  const changes = priceChanges(pool, buckets, seed)
  for (const [i, { bucket, price }] of changes.entries())
    prices.fill(price, bucket, changes[i + 1]?.bucket ?? buckets)
  return prices
}

/**
 * Which buckets are lost: about `percent` of them, 55 % of the gaps short, 25 % medium, 18 % long and 2 % longer than is filled.
 */
export function lostBuckets(pool: number, buckets: number, percent: number, seed: number): Uint8Array {
  const random = seededRandom(seed * 7_000_003 + pool)
  const lost = new Uint8Array(buckets)
  if (percent === 0) return lost
  const between = Math.round((2 * MEAN_LENGTH * (100 - percent)) / percent)
  for (let at = randomInt(random, 1, between); at < buckets; ) {
    const length = gapLength(random)
    // The last price is never lost: a gap that has not ended is not filled.
    lost.fill(1, at, Math.min(at + length, buckets - 1))
    at += length + randomInt(random, 1, between)
  }
  return lost
}

function gapLength(random: Random): number {
  const kind = random()
  if (kind < 0.55) return randomInt(random, 1, 2)
  if (kind < 0.8) return randomInt(random, 3, 6)
  return kind < 0.98 ? randomInt(random, 7, 48) : 60
}

/** Of `gapLength`. */
const MEAN_LENGTH = 0.55 * 1.5 + 0.25 * 4.5 + 0.18 * 27.5 + 0.02 * 60

/** A gzipped CSV of price changes in order of time, as `coordinator import prices` reads it. Returns how many. */
export async function writePriceFile(
  path: string,
  given: { readonly pools: number; readonly days: number; readonly seed: number; readonly from: Instant },
): Promise<number> {
  const buckets = given.days * BUCKETS_OF_A_DAY
  const rows = poolIds(given.pools).flatMap((id, pool) => {
    const { instanceType, availabilityZone } = parsePool(id)
    return priceChanges(pool, buckets, given.seed).map(({ bucket, price }) => ({
      // Whole seconds, and not all pools in the same one.
      at: instant(given.from + bucket * BUCKET + (pool % 300) * 1000),
      end: `${availabilityZone},${instanceType},${toUsd(price)}\n`,
    }))
  })
  rows.sort((a, b) => a.at - b.at)
  function* lines() {
    yield 'timestamp,availability_zone,instance_type,spot_price_usd_per_hour\n'
    for (const { at, end } of rows) yield `${new Date(at).toISOString().slice(0, 19)}Z,${end}`
  }
  await pipeline(Readable.from(lines()), createGzip({ level: 1 }), createWriteStream(path))
  return rows.length
}
