import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Instant, instant, systemClock } from '@understudy/shared/core/time'
import { bucketOf } from '@understudy/shared/market/bucket'
import type { Interval } from '@understudy/shared/market/interval'
import type { DatabasePlace } from '../../coordinator/src/storage/database.ts'
import { percentile } from './bench.ts'
import { DAY, writePriceFile } from './market-prices.ts'
import type { MarketRig, Store } from './market-rig.ts'
import type { Cost, ScanCounts, Source } from './market-tasks.ts'

/** What was done, on what, and what it cost. */
export interface Measured extends Cost {
  readonly what: 'import' | 'ingest' | 'ingest wide' | 'scan' | 'scan again' | 'read' | 'pandas'
  readonly data: 'generated' | 'real'
  readonly store: Store
  readonly pools: number
  /** Rows written, or buckets looked at, or points read. */
  readonly amount: number
  /** Of the database server's own processes; 0 for SQLite, which has none. */
  readonly serverCpuSeconds: number
  readonly p50Millis?: number
  readonly p95Millis?: number
  readonly scan?: ScanCounts
}

export interface MarketOptions {
  readonly pools: number
  readonly days: number
  readonly rows: number
  readonly batch: number
  readonly lost: number
  readonly points: number
  readonly rounds: number
  readonly seed: number
}

/** How a case tells what it found. */
export interface Findings {
  add(measured: Measured): void
  /** Not slow, but wrong. */
  wrong(what: string): void
}

type Case = (rig: MarketRig, options: MarketOptions, store: Store, found: Findings) => Promise<void>

/** Submissions as an agent sends them that was away for a day, and such as have a little of every pool. */
export const measureIngest: Case = async (rig, { rows, batch, pools, seed }, store, found) => {
  for (const what of ['ingest', 'ingest wide'] as const) {
    const place = await rig.newPlace(store)
    const width = what === 'ingest' ? Math.min(pools, AGENT_POOLS) : pools
    const answer = await rig.run('ingest', place, { rows, batch, pools, width, seed })
    const { sent, clean, first, repeated, ...cost } = answer
    if (clean !== sent || repeated !== first)
      found.wrong(
        `${what} on ${store}: ${sent} rows left ${clean}, and ${repeated} of the first ${first} were known`,
      )
    found.add({ ...cost, what, data: 'generated', store, pools, amount: sent })
  }
}

/** Some types in every zone of a region. */
const AGENT_POOLS = 20

/** Both files as `coordinator import prices` takes them. Returns where the real one is. */
export async function measureImports(
  rig: MarketRig,
  options: MarketOptions,
  store: Store,
  found: Findings,
  realFile: string,
): Promise<{ readonly place: DatabasePlace; readonly to: Instant } | undefined> {
  const made = join(rig.directory, 'prices.csv.gz')
  const from = instant(lastDays(options.days).from)
  const rows = existsSync(made) ? undefined : await writePriceFile(made, { ...options, from })
  const files = [{ data: 'generated', file: made } as const, { data: 'real', file: realFile } as const]
  let real: { place: DatabasePlace; to: Instant } | undefined
  for (const { data, file } of files.filter((one) => existsSync(one.file))) {
    const place = await rig.newPlace(store)
    const answer = await rig.run('import', place, { file })
    if (answer.refused > 0 || (data === 'generated' && rows !== undefined && answer.rows !== rows))
      found.wrong(`import of ${file} on ${store}: ${answer.rows} rows, ${answer.refused} refused`)
    found.add({ ...answer, what: 'import', data, store, amount: answer.rows })
    if (data === 'real' && answer.to !== null) real = { place, to: instant(answer.to) }
  }
  return real
}

/** Scans with more and more pools, so that it shows whether the time grows with them. */
export async function measureScans(
  rig: MarketRig,
  options: MarketOptions,
  store: Store,
  found: Findings,
  python: string | undefined,
): Promise<void> {
  const place = await rig.newPlace(store)
  const range = lastDays(options.days)
  const sizes = scanSizes(options.pools)
  for (const [step, to] of sizes.entries()) {
    const made = { from: sizes[step - 1] ?? 0, to, seed: options.seed }
    const isLast = step === sizes.length - 1
    await scanOnce(rig, { place, store, source: { made }, data: 'generated', range, options, isLast }, found)
    if (step > 0 || python === undefined || place.store !== 'sqlite') continue
    await compareWithPandas(rig, { place, path: place.path, python, range, data: 'generated' }, found)
  }
  await readSeries(rig, { place, store, data: 'generated', range, options }, found)
}

export async function measureReal(
  rig: MarketRig,
  options: MarketOptions,
  store: Store,
  found: Findings,
  given: { readonly history: DatabasePlace; readonly to: Instant; readonly python: string | undefined },
): Promise<void> {
  const place = await rig.newPlace(store)
  const to = bucketOf(given.to)
  const range = { from: instant(to - options.days * DAY), to }
  const source = { history: given.history, most: options.pools, seed: options.seed }
  await scanOnce(rig, { place, store, source, data: 'real', range, options, isLast: true }, found)
  if (given.python !== undefined && place.store === 'sqlite')
    await compareWithPandas(
      rig,
      { place, path: place.path, python: given.python, range, data: 'real' },
      found,
    )
  await readSeries(rig, { place, store, data: 'real', range, options }, found)
}

interface On {
  readonly place: DatabasePlace
  readonly store: Store
  readonly data: Measured['data']
  readonly range: Interval
  readonly options: MarketOptions
}

async function scanOnce(
  rig: MarketRig,
  on: On & { readonly source: Source; readonly isLast: boolean },
  found: Findings,
): Promise<void> {
  const { place, store, data, range, options } = on
  const loaded = await rig.run('load', place, { source: on.source, range, lost: options.lost })
  rig.say(`  ${store}, ${data}: ${loaded.rows} more samples in ${loaded.seconds.toFixed(0)} s`)
  const buckets = options.days * (DAY / 300_000)
  for (const what of on.isLast ? (['scan', 'scan again'] as const) : (['scan'] as const)) {
    const answer = await rig.run('scan', place, { range })
    const { pools, gaps, filled, rows, empty, open } = answer
    const scan = { pools, gaps, filled, rows, empty, open }
    found.add({ ...answer, what, data, store, amount: pools * buckets, scan })
    if (what === 'scan' ? rows === 0 : rows > 0)
      found.wrong(`${what} on ${store}: ${rows} prices were filled in`)
  }
}

async function readSeries(rig: MarketRig, on: On, found: Findings): Promise<void> {
  const { points, rounds, days } = on.options
  const { millis, longest, ...cost } = await rig.run('read', on.place, { range: on.range, points, rounds })
  if (longest > points || longest < points / 4) found.wrong(`a series of ${points} points had ${longest}`)
  const [p50Millis, p95Millis] = [percentile(millis, 50), percentile(millis, 95)]
  const amount = days * (DAY / 300_000)
  found.add({ ...cost, what: 'read', data: on.data, store: on.store, pools: 1, amount, p50Millis, p95Millis })
}

const PANDAS = fileURLToPath(new URL('market-pandas.py', import.meta.url))
const start = promisify(execFile)

/** The same gaps with pandas, on the same database; every price must be the one that stands in it. */
async function compareWithPandas(
  rig: MarketRig,
  given: Pick<On, 'place' | 'range' | 'data'> & { readonly path: string; readonly python: string },
  found: Findings,
): Promise<void> {
  const { place, range, data } = given
  const file = join(rig.directory, 'pandas.csv')
  const { stdout } = await start(given.python, [PANDAS, given.path, `${range.from}`, `${range.to}`, file])
  const theirs = JSON.parse(stdout) as Cost & { pools: number; rows: number }
  const amount = theirs.pools * ((range.to - range.from) / 300_000)
  found.add({ ...theirs, what: 'pandas', data, store: 'sqlite', amount, serverCpuSeconds: 0 })
  const { same, different, example } = await rig.run('compare', place, { file, range })
  rig.say(`  pandas: ${same} prices are the same, ${different} are not`)
  if (different > 0 || same === 0) found.wrong(`pandas has other prices for ${different}: ${example}`)
}

/** What that Python's pandas is, or undefined without either. */
export async function pandasVersion(python: string): Promise<string | undefined> {
  try {
    const { stdout } = await start(python, ['-c', 'import pandas; print(pandas.__version__)'])
    return stdout.trim()
  } catch {
    return undefined
  }
}

/** A tenth, three tenths and all of them, each at least one. */
export const scanSizes = (pools: number): readonly number[] => [
  ...new Set([0.1, 0.3, 1].map((part) => Math.max(1, Math.round(pools * part)))),
]

/** Whole buckets that have ended. */
function lastDays(days: number): Interval {
  const to = bucketOf(instant(systemClock.now() - DAY))
  return { from: instant(to - days * DAY), to }
}
