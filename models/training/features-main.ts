import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { AppError } from '../../shared/src/core/app-error.ts'
import type { Instant } from '../../shared/src/core/time.ts'
import { featureCatalog } from '../../shared/src/market/feature-catalog.ts'
import { poolId, regionOf } from '../../shared/src/market/pool.ts'
import { HOUR_MS } from '../../shared/src/market/price-path.ts'
import { PRICE_INSTABILITY_12H } from '../../shared/src/market/price-rise.ts'
import { matrixRows, type Segment, segmentsOf } from './matrix.ts'
import { readOnDemandFile, readPriceFile } from './price-file.ts'
import { scaleMarket, scaleTime } from './scaled-market.ts'

/** `pnpm models:features`: prices in, training matrix out. */

const USAGE = `Usage: pnpm models:features --prices FILE --out DIR [options]

  --prices FILE       CSV (or .csv.gz) with timestamp, availability_zone, instance_type, spot_price_usd_per_hour
  --out DIR           gets matrix.json, features.f32, pool.u16, time.u32, rise.f32 (all little-endian, one entry a row)
  --on-demand FILE    CSV with region, instance_type, ondemand_usd_per_hour; without it those features are NaN
  --region NAME       region in that file (default: that of the first zone)
  --grid HOURS        hours between rows of a pool (default 1)
  --seam FROM/TO      the history has a hole there: nothing is carried across it (may be given several times)
  --time-scale K      stretch the market's time by K (see scaled-market.ts)
  --move-scale K      multiply the changes of the logarithm of each price by K
  --warm-up HOURS     hours at the beginning of each stretch without rows (default 168)
`

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      prices: { type: 'string' },
      out: { type: 'string' },
      'on-demand': { type: 'string' },
      region: { type: 'string' },
      grid: { type: 'string', default: '1' },
      seam: { type: 'string', multiple: true, default: [] },
      'time-scale': { type: 'string', default: '1' },
      'move-scale': { type: 'string', default: '1' },
      'warm-up': { type: 'string', default: '168' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help || !values.prices || !values.out) {
    process.stderr.write(USAGE)
    return values.help ? 0 : 2
  }
  const started = performance.now()
  const { histories: real, dropped } = await readPriceFile(values.prices)
  const region = values.region ?? regionOf(real[0]?.pool.availabilityZone ?? '')
  const onDemand = values['on-demand'] ? await readOnDemandFile(values['on-demand'], region) : new Map()
  const scale = {
    time: toNumber(values['time-scale'], '--time-scale'),
    moves: toNumber(values['move-scale'], '--move-scale'),
  }
  const origin = segmentsOf(real, [])[0]?.from ?? (0 as Instant)
  const histories = scaleMarket(real, onDemand, scale, origin)
  const seams = values.seam.map(toSeam).map(({ from, to }) => ({
    from: scaleTime(from, scale.time, origin),
    to: scaleTime(to, scale.time, origin),
  }))
  const segments = segmentsOf(histories, seams)
  const pools = histories.map(({ pool }) => poolId(pool)).sort()
  const numberOf = new Map(pools.map((id, i) => [id, i]))
  const out = values.out
  await mkdir(out, { recursive: true })
  const files = {
    features: createWriteStream(join(out, 'features.f32')),
    pool: createWriteStream(join(out, 'pool.u16')),
    time: createWriteStream(join(out, 'time.u32')),
    rise: createWriteStream(join(out, 'rise.f32')),
    segment: createWriteStream(join(out, 'segment.u8')),
  }
  const spec = {
    histories,
    onDemand,
    names: featureCatalog.map(({ name }) => name),
    target: PRICE_INSTABILITY_12H,
    grid: toNumber(values.grid, '--grid') * HOUR_MS,
    warmUp: toNumber(values['warm-up'], '--warm-up') * HOUR_MS,
    segments,
  }
  let count = 0
  let positive = 0
  for (const rows of matrixRows(spec, numberOf)) {
    const n = rows.pools.length
    count += n
    for (const hours of rows.rise) if (!Number.isNaN(hours)) positive += 1
    files.pool.write(bytesOf(rows.pools))
    files.time.write(bytesOf(new Uint32Array(n).fill(rows.at / 1000)))
    files.rise.write(bytesOf(rows.rise))
    files.segment.write(bytesOf(new Uint8Array(n).fill(rows.segment)))
    if (!files.features.write(bytesOf(rows.features))) await once(files.features, 'drain')
  }
  for (const stream of Object.values(files)) {
    stream.end()
    await finished(stream)
  }
  const matrix = {
    format: 1,
    rows: count,
    positive,
    features: spec.names,
    pools,
    region,
    onDemandKnown: pools.filter((id) => onDemand.has(id.slice(0, id.indexOf('@')))).length,
    droppedRows: dropped,
    target: { horizonHours: spec.target.horizon / HOUR_MS, factor: spec.target.factor },
    scale,
    gridHours: spec.grid / HOUR_MS,
    segments: segments.map(({ from, to }) => [new Date(from).toISOString(), new Date(to).toISOString()]),
  }
  await writeFile(join(out, 'matrix.json'), `${JSON.stringify(matrix, null, 1)}\n`)
  process.stdout.write(
    `${count} rows of ${pools.length} pools, ${positive} with a rise, in ${((performance.now() - started) / 1000).toFixed(1)} s\n`,
  )
  return 0
}

const bytesOf = (array: Uint8Array | Uint16Array | Uint32Array | Float32Array) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength)

function toNumber(text: string, flag: string): number {
  const number = Number(text)
  if (Number.isFinite(number) && number > 0) return number
  throw new AppError('input_invalid', `${flag} ${text} is not a number above zero`)
}

function toSeam(text: string): Segment {
  const [from, to] = text.split('/').map((time) => Date.parse(time))
  if (from !== undefined && to !== undefined && from < to) return { from: from as Instant, to: to as Instant }
  throw new AppError('input_invalid', `--seam ${text} is not a stretch of time`, {
    hint: 'Give it as 2020-03-30T00:31:00Z/2020-03-31T00:04:00Z.',
  })
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof AppError)) throw error
  process.stderr.write(`${error.message}\n${error.hint ? `${error.hint}\n` : ''}`)
  process.exitCode = 1
}
