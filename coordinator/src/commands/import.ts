import { randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import { hours, millis, sleep, systemClock } from '@understudy/shared/core/time'
import { zoneNames } from '@understudy/shared/market/zone'
import { pino } from 'pino'
import type { Invocation } from '../command-line.ts'
import { databasePlace } from '../config/database-place.ts'
import { loadConfig } from '../config/load.ts'
import { createAudit } from '../http/http.ts'
import { readZoneFile } from '../market/catalog-files.ts'
import { createKnownCatalog } from '../market/catalog-known.ts'
import { createCatalogStore } from '../market/catalog-store.ts'
import { createFetchStore, emptyCursor } from '../market/fetch-store.ts'
import { type PriceFormat, priceFormats } from '../market/import-formats.ts'
import { damagedError, type ImportReport, importPrices } from '../market/import-prices.ts'
import { createMarket } from '../market/market.ts'
import { type OpenDatabase, openDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { onInterrupt } from './interrupt.ts'

type Print = (text: string) => number

/** Exit code 0; 1 when the file could not be read to its end, or when not one of its rows could be used; 130 when interrupted. */
export async function importData(invocation: Invocation, print: Print): Promise<number> {
  const [what, path, ...more] = invocation.words
  if (what !== 'prices')
    throw new AppError('input_invalid', `import what? "${what ?? ''}" is not prices`, {
      hint: 'coordinator import prices <file>',
    })
  if (path === undefined || more.length > 0)
    throw new AppError('input_invalid', 'name one file: coordinator import prices <file>')
  const config = loadConfig(invocation.configFile, invocation.settings, process.env)
  using interrupt = onInterrupt()
  const { signal } = interrupt
  const database = await openDatabase(databasePlace(config))
  try {
    await migrate(database.db)
    const report = await run(invocation, path, database, signal)
    print(invocation.json ? toJson(path, report) : toText(path, report))
    if (report.damaged !== null) throw damagedError(path, report)
    return report.rows === 0 ? 1 : 0
  } catch (error) {
    if (signal.aborted) return 130
    throw error
  } finally {
    await database.close()
  }
}

async function run(
  { own }: Invocation,
  path: string,
  database: OpenDatabase,
  signal: AbortSignal,
): Promise<ImportReport> {
  const startedAt = systemClock.now()
  const catalog = createCatalogStore(database.bulk)
  const known = createKnownCatalog(catalog)
  await known.load()
  const market = createMarket({
    db: database.bulk,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    known,
    retention: { submissions: NEVER, prices: NEVER },
    gapFiller: false,
    ...(database.dialect === 'sqlite' ? { pause: () => sleep(systemClock, TURN, signal) } : {}),
  })
  const zones = typeof own.zones === 'string' ? await readZoneFile(own.zones, signal) : await catalog.zones()
  const { nameOf } = zoneNames(zones)
  const region = typeof own.region === 'string' ? own.region : undefined
  const report = await importPrices(
    { path, format: formatOf(own.format), region },
    {
      sink: market,
      // Not the types: a file of years ago has some that EC2 does not sell any more.
      known: { now: startedAt, isKnownZone: known.isKnownZone, onDemand: known.onDemand },
      zoneName: nameOf,
      onProgress: showProgress(),
    },
    signal,
  )
  await createFetchStore(database.db).add({
    id: randomUUID(),
    kind: 'import',
    request: { path, format: report.format, region: region ?? null },
    status: report.damaged === null ? 'done' : 'failed',
    done: 1,
    total: 1,
    rows: report.rows,
    error: report.damaged,
    cursor: { ...emptyCursor, next: 1, refused: report.refused.byCode, examples: report.refused.examples },
    createdAt: startedAt,
    startedAt,
    endedAt: systemClock.now(),
  })
  await createAudit(database.db, systemClock).record({
    actor: 'command line',
    action: 'prices.import',
    object: path,
    after: { rows: report.rows, refused: report.refused.total, covered_pools: report.coveredPools },
  })
  return report
}

function formatOf(given: string | boolean | undefined): PriceFormat | undefined {
  if (given === undefined) return undefined
  const format = priceFormats.find((known) => known === given)
  if (format) return format
  throw new AppError('input_invalid', `--format is "${String(given)}": it must be ${priceFormats.join(', ')}`)
}

/** A line on standard error now and then: over the last one on a terminal, below it in a log. */
function showProgress(): (progress: { rows: number; fraction: number }) => void {
  const { isTTY } = process.stderr
  const every = isTTY ? 200 : 5000
  let shownAt = systemClock.mono()
  return ({ rows, fraction }) => {
    const now = systemClock.mono()
    if (now - shownAt < every && !(isTTY && fraction === 1)) return
    shownAt = now
    const line = `${Math.round(fraction * 100)} %, ${rows} rows`
    process.stderr.write(isTTY ? `\r${line}${fraction === 1 ? '\n' : ''}` : `${line}\n`)
  }
}

const toJson = (path: string, report: ImportReport): string =>
  `${JSON.stringify({
    schema: 'understudy.import-prices/v1',
    file: path,
    format: report.format,
    rows: report.rows,
    pools: report.pools,
    from: iso(report.from),
    to: iso(report.to),
    refused: report.refused.byCode,
    examples: report.refused.examples,
    skipped: { other_product: report.skipped.otherProduct, other_region: report.skipped.otherRegion },
    order: report.order,
    breaks: report.breaks.map(({ region, from, to }) => ({ region, from: iso(from), to: iso(to) })),
    covered_pools: report.coveredPools,
    covered_hours: Math.round(report.covered / 3_600_000),
    damaged: report.damaged,
  })}\n`

function toText(path: string, report: ImportReport): string {
  const { refused, skipped, breaks } = report
  const lines = [
    `${path} (${report.format}): ${report.rows} rows of ${report.pools} pools${
      report.from === null ? '' : `, ${iso(report.from)} to ${iso(report.to)}`
    }`,
    `covered: ${report.coveredPools} pools, ${Math.round(report.covered / 3_600_000)} pool hours`,
    ...breaks.map(
      ({ region, from, to }) =>
        `not covered: ${region} from ${iso(from)} to ${iso(to)}, without a single row`,
    ),
    ...(skipped.otherProduct > 0 ? [`skipped: ${skipped.otherProduct} rows of other products`] : []),
    ...(skipped.otherRegion > 0 ? [`skipped: ${skipped.otherRegion} rows of other regions`] : []),
    ...Object.entries(refused.byCode).map(([code, count]) => `refused: ${count} rows, ${code}`),
    ...refused.examples.map(({ where, reason }) => `  ${where}: ${reason}`),
    ...(refused.byCode.zone_unknown ? [ZONES_HINT] : []),
  ]
  return `${lines.join('\n')}\n`
}

/**
 * After each transaction on SQLite. A coordinator that runs beside this waits for the lock with its whole process, and
 * looks for it in steps that grow to 100 ms: it must find it free most of the time.
 */
const TURN = millis(15)

/** This command deletes nothing. */
const NEVER = hours(24 * 36_500)

const ZONES_HINT =
  'Try: coordinator catalog refresh, or --zones with what aws ec2 describe-availability-zones --all-availability-zones prints'

const iso = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString())
