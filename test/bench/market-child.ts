import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { type MicroUsd, microUsd, toUsd } from '@understudy/shared/core/money'
import { hours, systemClock } from '@understudy/shared/core/time'
import { BUCKET, bucketsBetween } from '@understudy/shared/market/bucket'
import { decimate } from '@understudy/shared/market/decimate'
import { stepSeries } from '@understudy/shared/market/history'
import type { Interval } from '@understudy/shared/market/interval'
import { sql } from 'kysely'
import { pino } from 'pino'
import { importPrices } from '../../coordinator/src/market/import-prices.ts'
import type { SubmittedRow } from '../../coordinator/src/market/ingest.ts'
import { createMarket, type Market } from '../../coordinator/src/market/market.ts'
import { createPoolStore } from '../../coordinator/src/market/pool-store.ts'
import { rowsOf } from '../../coordinator/src/storage/bulk.ts'
import {
  type DatabasePlace,
  type OpenDatabase,
  openDatabase,
} from '../../coordinator/src/storage/database.ts'
import { migrate } from '../../coordinator/src/storage/migrate.ts'
import { ensurePartitions } from '../../coordinator/src/storage/partitions.ts'
import { lostBuckets, poolIds, pricesOf } from './market-prices.ts'
import type { Cost, Order, Source, TaskName, Tasks } from './market-tasks.ts'

/** One task of the market benchmark, given as JSON in the first argument. Prints its answer as the last line. */

const NEVER = hours(24 * 36_500)
const INSTANCE = 'i-0123456789abcdef0'
const AGENT = '0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b'

type Run<N extends TaskName> = (at: Opened, ask: Tasks[N]['ask']) => Promise<Tasks[N]['answer']>
interface Opened {
  readonly database: OpenDatabase
  readonly market: Market
}

async function open(place: DatabasePlace): Promise<Opened> {
  const database = await openDatabase(place)
  await migrate(database.db)
  const market = createMarket({
    db: database.bulk,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    known: { isKnownZone: () => true, onDemand: () => undefined },
    retention: { submissions: NEVER, prices: NEVER },
    gapFiller: false,
  })
  return { database, market }
}

async function measured<T extends object>(run: () => Promise<T>): Promise<T & Cost> {
  const meter = createMeter()
  const answer = await meter.during(run)
  return { ...answer, ...meter.cost() }
}

function createMeter() {
  let [millis, micros] = [0, 0]
  return {
    async during<T>(run: () => Promise<T>): Promise<T> {
      const started = performance.now()
      const before = process.cpuUsage()
      const answer = await run()
      const { user, system } = process.cpuUsage(before)
      millis += performance.now() - started
      micros += user + system
      return answer
    },
    cost: (): Cost => ({
      seconds: millis / 1000,
      cpuSeconds: micros / 1e6,
      peakRssMib: process.resourceUsage().maxRSS / 1024,
    }),
  }
}

const importFile: Run<'import'> = ({ market }, { file }) =>
  measured(async () => {
    const report = await importPrices(
      { path: file },
      {
        sink: market,
        known: { now: systemClock.now(), isKnownZone: () => true, onDemand: () => undefined },
        zoneName: () => undefined,
      },
      new AbortController().signal,
    )
    if (report.damaged !== null) throw new Error(`${file}: ${report.damaged}`)
    const { rows, pools, from, to, refused } = report
    return { rows, pools, from, to, refused: refused.total }
  })

/**
 * Only the ingest is measured, not what makes the rows. Each submission has the next buckets of the next few pools. At the
 * end the first one comes once more, which changes nothing.
 */
const ingest: Run<'ingest'> = async ({ database, market }, { rows, batch, pools, width, seed }) => {
  const ids = poolIds(pools)
  const groups = Math.ceil(pools / width)
  const depth = Math.max(1, Math.floor(batch / width))
  const submissions = Math.ceil(rows / (width * depth))
  const buckets = Math.ceil(submissions / groups) * depth
  const prices = ids.map((_, pool) => pricesOf(pool, buckets, seed))
  const from = Math.floor((systemClock.now() - (buckets + 12) * BUCKET) / BUCKET) * BUCKET
  const submissionOf = (number: number): SubmittedRow[] => {
    const first = (number % groups) * width
    const start = Math.floor(number / groups) * depth
    return ids.slice(first, first + width).flatMap((pool, i) =>
      Array.from({ length: depth }, (_, k) => {
        const at = new Date(from + (start + k) * BUCKET + 1000 + first + i).toISOString()
        const price = toUsd(microUsd(prices[first + i]?.[start + k] ?? 0))
        return { given: { pool, at, price }, instanceId: INSTANCE, role: 'primary' as const }
      }),
    )
  }
  const submit = (number: number, submitted: readonly SubmittedRow[]) =>
    market.ingest({ submissionId: `bench ${number}`, agentId: AGENT, rows: submitted })
  const meter = createMeter()
  let sent = 0
  for (let number = 0; number < submissions; number += 1) {
    const submitted = submissionOf(number)
    const { accepted } = await meter.during(() => submit(number, submitted))
    if (accepted !== submitted.length)
      throw new Error(`only ${accepted} of ${submitted.length} rows were accepted`)
    sent += accepted
  }
  const first = submissionOf(0)
  const again = await submit(0, first)
  return {
    ...meter.cost(),
    sent,
    first: first.length,
    clean: await countOf(database, 'pricing_snapshots_clean'),
    repeated: again.duplicates,
  }
}

async function countOf(
  { bulk }: OpenDatabase,
  table: 'pricing_snapshots_clean' | 'pricing_snapshots_interpolated',
): Promise<number> {
  const row = await bulk
    .selectFrom(table)
    .select((e) => e.fn.countAll<number | string>().as('count'))
    .executeTakeFirstOrThrow()
  return Number(row.count)
}

/** Straight into the clean table: at the speed of ingest it would take most of the time of a run. */
const load: Run<'load'> = (opened, { source, range, lost }) =>
  measured(async () => {
    const { database } = opened
    const buckets = bucketsBetween(range.from, range.to)
    const pools = createPoolStore(database.bulk)
    await database.bulk.deleteFrom('pricing_snapshots_interpolated').execute()
    await database.bulk.deleteFrom('data_gaps').execute()
    const days = Array.from({ length: buckets / 288 + 1 }, (_, day) => range.from + day * 288 * BUCKET)
    await ensurePartitions(database.bulk, 'pricing_snapshots_clean', days)
    const count = { rows: 0, lacking: 0 }
    for await (const { id, index, prices, seed } of pricesFrom(source, range, buckets)) {
      const number = (await pools.ensure([id])).get(id) as number
      const gone = lostBuckets(index, buckets, lost, seed)
      const rows: { at: number; price: number }[] = []
      for (const [bucket, price] of prices.entries())
        if (price > 0 && gone[bucket] === 0) rows.push({ at: range.from + bucket * BUCKET, price })
      await addClean(database, number, rows)
      count.rows += rows.length
      count.lacking += buckets - rows.length
    }
    await settled(database)
    return count
  })

/** As a database is whose rows have come over months: with statistics, and on PostgreSQL vacuumed. */
async function settled({ bulk, dialect }: OpenDatabase): Promise<void> {
  await sql.raw(dialect === 'postgres' ? 'vacuum analyze' : 'analyze').execute(bulk)
}

async function* pricesFrom(source: Source, range: Interval, buckets: number) {
  if ('made' in source) {
    const { from, to, seed } = source.made
    const ids = poolIds(to)
    for (let index = from; index < to; index += 1)
      yield { id: ids[index] as string, index, prices: pricesOf(index, buckets, seed), seed }
    return
  }
  const { database, market } = await open(source.history)
  try {
    const pools = await market.pools()
    for (const [index, { poolId: id }] of pools.slice(0, source.most).entries()) {
      const { changes, covered } = await market.history(id, range)
      const prices = new Int32Array(buckets)
      for (const { at, price } of stepSeries(changes, covered, range))
        prices[(at - range.from) / BUCKET] = price
      yield { id, index, prices, seed: source.seed }
    }
  } finally {
    await database.close()
  }
}

async function addClean(
  { bulk }: OpenDatabase,
  pool: number,
  rows: readonly { at: number; price: number }[],
): Promise<void> {
  await sql`
    insert into pricing_snapshots_clean (pool, at, price, confidence, sampled_at, instance_id, agent_id)
    select cast(${pool} as integer), at, price, 100, at + 1000, cast(${INSTANCE} as text), cast(${AGENT} as text)
    from ${rowsOf(bulk, { at: 'bigint', price: 'bigint' }, rows)} where true`.execute(bulk)
}

const scan: Run<'scan'> = ({ market }, { range }) =>
  measured(async () => {
    const { pools, gaps, filled, rows, empty, open } = await market.scan({ range })
    return { pools, gaps, filled, rows, empty, open }
  })

const read: Run<'read'> = async ({ market }, { range, points, rounds }) => {
  const pools = await market.pools()
  const millis: number[] = []
  let longest = 0
  const cost = await measured(async () => {
    // The first few compile the code and are not counted.
    for (let round = -WARM_UP; round < rounds; round += 1) {
      const pool = pools[((round + WARM_UP) * 7) % pools.length]
      const started = performance.now()
      const series = decimate(await market.series(pool?.poolId ?? '', range), points)
      if (round >= 0) millis.push(performance.now() - started)
      longest = Math.max(longest, series.length)
    }
    return {}
  })
  return { ...cost, millis, longest }
}
const WARM_UP = 10

const compare: Run<'compare'> = async ({ market }, { file, range }) => {
  const theirs = new Map<string, Map<number, MicroUsd>>()
  for await (const line of createInterface({ input: createReadStream(file) })) {
    const [pool = '', at, price] = line.split(',')
    const prices = theirs.get(pool) ?? new Map<number, MicroUsd>()
    theirs.set(pool, prices.set(Number(at), microUsd(Number(price))))
  }
  let [same, different] = [0, 0]
  let example: string | null = null
  for (const { poolId } of await market.pools())
    for (const point of await market.series(poolId, range)) {
      const their = theirs.get(poolId)?.get(point.at)
      if (their === undefined && point.source !== 'interpolated') continue
      // A fraction of a micro-dollar that lies on the edge may be rounded to either side.
      const isSame = point.source === 'interpolated' && Math.abs(point.price - (their ?? -9)) <= 1
      if (isSame) same += 1
      else different += 1
      if (!isSame)
        example ??= `${poolId} ${new Date(point.at).toISOString()}: ours ${point.price}, theirs ${their}`
    }
  return { same, different, example }
}

const tasks: { readonly [N in TaskName]: Run<N> } = { import: importFile, ingest, load, scan, read, compare }

async function main<N extends TaskName>({ task, place, ask }: Order<N>): Promise<void> {
  const opened = await open(place)
  try {
    const run = tasks[task] as Run<N>
    process.stdout.write(`${JSON.stringify(await run(opened, ask))}\n`)
  } finally {
    await opened.database.close()
  }
}

await main(JSON.parse(process.argv[2] ?? '{}') as Order)
