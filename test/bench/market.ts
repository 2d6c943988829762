import { existsSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Bench, BenchResult, Given } from './bench.ts'
import {
  type Findings,
  type MarketOptions,
  type Measured,
  measureImports,
  measureIngest,
  measureReal,
  measureScans,
  pandasVersion,
} from './market-cases.ts'
import { toJson, toTable } from './market-report.ts'
import { type MarketRig, openMarketRig, type Store } from './market-rig.ts'

const REAL_FILE = fileURLToPath(
  new URL('../../../shared/data/prices/sa-east-1_2019-12-31_2020-06-23_linux.csv.gz', import.meta.url),
)

/** Prices in and out of both databases, each task in a process of its own; the same gaps with pandas. */
export const bench: Bench = {
  summary: 'How fast prices come in, how fast their gaps are found and filled, and how fast a series is read',
  options: {
    pools: { value: 1000, doc: 'pools; scans run with a tenth, three tenths and all of them' },
    days: { value: 90, doc: 'days of prices, 288 buckets each' },
    lost: { value: 2, doc: 'percent of the buckets that are gaps' },
    rows: { value: 500_000, doc: 'samples that are ingested' },
    batch: { value: 5000, doc: 'samples of one submission' },
    points: { value: 1000, doc: 'points of a decimated series' },
    rounds: { value: 60, doc: 'series that are read' },
    seed: { value: 1, doc: 'seed of prices and gaps' },
  },
  texts: {
    on: { value: 'sqlite,postgres', doc: 'databases' },
    only: {
      value: 'ingest,import,scan,real',
      doc: 'parts; reading comes with scan and real, pandas with both on SQLite',
    },
    file: { value: REAL_FILE, doc: 'real price file, of which the last days are taken' },
    python: { value: 'python3', doc: 'a Python that has pandas' },
    dir: { value: '', doc: 'where SQLite works (default: the temporary directory)' },
  },
  switches: { quick: 'a tenth of the pools and of the rows' },
  run: measure,
}

const PARTS = ['ingest', 'import', 'scan', 'real'] as const
const STORES = ['sqlite', 'postgres'] as const

async function measure(
  numbers: Readonly<Record<string, number>>,
  progress: (line: string) => void,
  { texts, switches }: Given,
): Promise<BenchResult> {
  const options = readOptions(numbers, switches.quick === true)
  const parts = someOf(PARTS, '--only', texts.only ?? '')
  const stores = someOf(STORES, '--on', texts.on ?? '')
  const file = texts.file ?? ''
  const python = texts.python ?? ''
  const pandas = await pandasVersion(python)
  if (pandas === undefined)
    progress(`${python} has no pandas: nothing is compared with it (--python names another)`)
  if (!existsSync(file))
    progress(`${file} is not there: only generated prices are measured (--file names another)`)
  const all: Measured[] = []
  const wrong: string[] = []
  const found: Findings = {
    add(one) {
      all.push(one)
      progress(`  ${one.what}, ${one.store}, ${one.data}, ${one.pools} pools: ${one.seconds.toFixed(1)} s`)
    },
    wrong(what) {
      wrong.push(what)
      progress(`WRONG: ${what}`)
    },
  }
  const rig = openMarketRig(texts.dir ?? '', progress)
  try {
    for (const store of stores)
      await measureOn(
        rig,
        store,
        { options, parts, file, python: pandas === undefined ? undefined : python },
        found,
      )
  } finally {
    await rig.close()
  }
  const table = [toTable(all, loadavg()), ...wrong.map((what) => `WRONG: ${what}`)].join('\n')
  const json = toJson(all, { wrong, pandas: pandas ?? null, options, loadavg: loadavg() })
  return { table, json, ok: wrong.length === 0 }
}

async function measureOn(
  rig: MarketRig,
  store: Store,
  given: {
    readonly options: MarketOptions
    readonly parts: ReadonlySet<(typeof PARTS)[number]>
    readonly file: string
    readonly python: string | undefined
  },
  found: Findings,
): Promise<void> {
  const { options, parts, file, python } = given
  rig.say(store)
  if (parts.has('ingest')) await measureIngest(rig, options, store, found)
  if (parts.has('import') || parts.has('real')) {
    const real = await measureImports(rig, options, store, found, file)
    if (real && parts.has('real'))
      await measureReal(rig, options, store, found, { history: real.place, to: real.to, python })
  }
  if (parts.has('scan')) await measureScans(rig, options, store, found, python)
}

function readOptions(numbers: Readonly<Record<string, number>>, quick: boolean): MarketOptions {
  const { pools = 0, days = 0, lost = 0, rows = 0, batch = 0, points = 0, rounds = 0, seed = 0 } = numbers
  for (const [key, value] of Object.entries({ pools, days, rows, batch, rounds }))
    if (value < 1) throw new Error(`--${key} is ${value}: it must be at least 1`)
  if (lost > 50) throw new Error(`--lost is ${lost}: it is percent of the buckets, at most 50`)
  const part = (of: number) => (quick ? Math.ceil(of / 10) : of)
  return { pools: part(pools), days, lost, rows: part(rows), batch, points, rounds, seed }
}

function someOf<T extends string>(known: readonly T[], name: string, text: string): ReadonlySet<T> {
  const given = text.split(',').filter(Boolean)
  const parts = known.filter((part) => given.includes(part))
  if (parts.length === 0 || parts.length < new Set(given).size)
    throw new Error(
      `${name} is ${JSON.stringify(text)}: it must be some of ${known.join(', ')}, with commas between`,
    )
  return new Set(parts)
}
