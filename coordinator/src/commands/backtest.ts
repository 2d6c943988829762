import { readdir, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import { hours, systemClock } from '@understudy/shared/core/time'
import { zoneNames } from '@understudy/shared/market/zone'
import { type Backtest, type PolicyName, policyNames, runBacktest } from '../backtest/backtest.ts'
import { toHtml } from '../backtest/html.ts'
import { priceMarket, priceWorkloads, type ReadPool } from '../backtest/price-market.ts'
import { countedRises } from '../backtest/price-risk.ts'
import { toJson, toMarkdown } from '../backtest/report.ts'
import { traceMarkets } from '../backtest/trace-market.ts'
import { readTypeCatalog } from '../backtest/type-catalog.ts'
import { type Invocation, numberFlag } from '../command-line.ts'
import { readZoneFile } from '../market/catalog-files.ts'
import { Damaged, openDataFile } from '../market/data-file.ts'
import { damagedError, importPrices } from '../market/import-prices.ts'
import { onInterrupt } from './interrupt.ts'

type Print = (text: string) => number
type Own = Invocation['own']

const USAGE = 'coordinator backtest --prices FILE --types FILE, or --trace FILE-OR-FOLDER, or both'

/** Replays policies over files; uses neither a database nor the network. Exit code 0; 130 when interrupted. */
export async function backtest({ own, json }: Invocation, print: Print): Promise<number> {
  const policies = policiesOf(own.policy)
  if (own.prices === undefined && own.trace === undefined)
    throw new AppError('input_invalid', 'name what to replay', { hint: USAGE })
  using interrupt = onInterrupt()
  const { signal } = interrupt
  try {
    const results: Backtest[] = []
    if (typeof own.prices === 'string') results.push(await overPrices(own.prices, own, policies, signal))
    if (typeof own.trace === 'string') results.push(...(await overTraces(own.trace, policies, signal)))
    print(json ? toJson(results) : toMarkdown(results))
    if (typeof own.html === 'string') await writeReport(own.html, toHtml(results))
    return 0
  } catch (error) {
    if (signal.aborted) return 130
    throw error
  }
}

function policiesOf(given: Own[string]): readonly PolicyName[] {
  if (typeof given !== 'string') return policyNames
  return given.split(',').map((name) => {
    const policy = policyNames.find((known) => known === name.trim())
    if (policy) return policy
    throw new AppError('input_invalid', `--policy has "${name}": it must be of ${policyNames.join(', ')}`)
  })
}

async function overPrices(
  path: string,
  own: Own,
  policies: readonly PolicyName[],
  signal: AbortSignal,
): Promise<Backtest> {
  if (typeof own.types !== 'string')
    throw new AppError('input_invalid', 'it is not known what the instance types have and cost', {
      hint: 'Give --types: CSV with region,instance_type,vcpu,memory_gib,ondemand_usd_per_hour.',
    })
  const factsOf = readTypeCatalog(await readText(own.types, signal))
  const tick = hours(numberFlag(own.every, 'every', 1, 24) ?? 1)
  const market = priceMarket(await readPools(path, own, signal), factsOf, tick)
  const workloads = priceWorkloads(market, numberFlag(own.workloads, 'workloads', 1, 10_000) ?? 48)
  return runBacktest({
    name: basename(path),
    market,
    workloads,
    policies,
    risk: countedRises(market),
    hasPrices: true,
    onProgress: (done, of) => {
      signal.throwIfAborted()
      if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${of} workloads${done === of ? '\n' : ''}`)
    },
  })
}

/** As an import reads it, into memory. */
async function readPools(path: string, own: Own, signal: AbortSignal): Promise<readonly ReadPool[]> {
  const pools = new Map<
    string,
    { changes: ReadPool['changes'][number][]; covered: ReadPool['covered'][number][] }
  >()
  const zones = typeof own.zones === 'string' ? await readZoneFile(own.zones, signal) : []
  const { nameOf } = zoneNames(zones)
  const report = await importPrices(
    { path, region: typeof own.region === 'string' ? own.region : undefined },
    {
      sink: {
        recordHistory(id, changes, covered) {
          const pool = pools.get(id) ?? { changes: [], covered: [] }
          pools.set(id, pool)
          for (const change of changes) pool.changes.push(change)
          pool.covered.push(...covered)
          return Promise.resolve()
        },
      },
      known: { now: systemClock.now(), isKnownZone: () => undefined, onDemand: () => undefined },
      zoneName: nameOf,
    },
    signal,
  )
  if (report.damaged !== null) throw damagedError(path, report)
  return [...pools].map(([id, pool]) => ({ id, ...pool }))
}

async function overTraces(
  path: string,
  policies: readonly PolicyName[],
  signal: AbortSignal,
): Promise<readonly Backtest[]> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new AppError('not_found', `there is no file or folder ${path}`, { cause })
  })
  const paths = found.isDirectory() ? (await readdir(path)).sort().map((name) => join(path, name)) : [path]
  if (paths.length === 0) throw new AppError('input_invalid', `${path} has no traces`)
  const files = await Promise.all(
    paths.map(async (file) => ({ name: basename(file), text: await readText(file, signal) })),
  )
  return traceMarkets(files).map(({ name, market, workloads }) => {
    signal.throwIfAborted()
    const title = `${basename(path)} ${name}`
    return runBacktest({ name: title, market, workloads, policies, risk: undefined, hasPrices: false })
  })
}

/** More than any file of types or availability has. */
const MOST_BYTES = 64_000_000

async function readText(path: string, signal: AbortSignal): Promise<string> {
  const file = await openDataFile(path)
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of file.chunks(signal)) {
      size += chunk.length
      if (size > MOST_BYTES)
        throw new AppError('payload_too_large', `${path} is far too large for what it should be`)
      chunks.push(chunk)
    }
  } catch (cause) {
    if (!(cause instanceof Damaged)) throw cause
    throw new AppError('state_unreadable', `${path} could not be read to its end (${cause.message})`, {
      cause,
    })
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function writeReport(path: string, html: string): Promise<void> {
  await writeFile(path, html).catch((cause: unknown) => {
    throw new AppError('input_invalid', `${path} cannot be written`, { cause })
  })
}
