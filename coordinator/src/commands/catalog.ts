import { writeFileSync } from 'node:fs'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { minutes, systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { createEc2Catalog } from '../cloud/ec2/ec2-catalog.ts'
import { createEc2Clients } from '../cloud/ec2/ec2-clients.ts'
import { createPacer } from '../cloud/pacer.ts'
import type { Invocation } from '../command-line.ts'
import { databasePlace } from '../config/database-place.ts'
import { loadConfig } from '../config/load.ts'
import type { CoordinatorConfig } from '../config/options.ts'
import { createAudit } from '../http/http.ts'
import { ageOf, createCatalog } from '../market/catalog.ts'
import { importCatalogFile, parseAsOf } from '../market/catalog-files.ts'
import { type CatalogStore, createCatalogStore } from '../market/catalog-store.ts'
import { toStaticIntelligence } from '../market/static-intelligence.ts'
import { openDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { onInterrupt } from './interrupt.ts'

type Print = (text: string) => number

interface Ports {
  readonly invocation: Invocation
  readonly config: CoordinatorConfig
  readonly store: CatalogStore
  readonly audit: ReturnType<typeof createAudit>
  readonly signal: AbortSignal
  readonly print: Print
}

const verbs: Readonly<Record<string, (ports: Ports) => Promise<number>>> = {
  show,
  refresh,
  import: importFile,
  export: exportFile,
}

/** Works on the database itself: the coordinator that runs on it sees what is there. */
export async function catalog(invocation: Invocation, print: Print): Promise<number> {
  const config = loadConfig(invocation.configFile, invocation.settings, process.env)
  const verb = verbs[invocation.words[0] ?? '']
  if (!verb)
    throw new AppError(
      'input_invalid',
      `catalog what? "${invocation.words[0] ?? ''}" is not ${Object.keys(verbs).join(', ')}`,
    )
  using interrupt = onInterrupt()
  const { signal } = interrupt
  const database = await openDatabase(databasePlace(config))
  try {
    await migrate(database.db)
    const store = createCatalogStore(database.bulk)
    const audit = createAudit(database.db, systemClock)
    return await verb({ invocation, config, store, audit, signal, print })
  } catch (error) {
    if (signal.aborted) return 130
    throw error
  } finally {
    await database.close()
  }
}

async function show({ invocation, store, print }: Ports): Promise<number> {
  const sources = (await store.sources()).map((row) => {
    const age = ageOf(row, systemClock)
    return {
      name: row.name,
      url: row.url,
      as_of: iso(row.as_of),
      fetched_at: iso(row.fetched_at),
      checked_at: iso(row.checked_at),
      age_seconds: age === null ? null : Math.round(age / 1000),
      error: row.error,
    }
  })
  if (invocation.json) return print(`${JSON.stringify({ schema: 'understudy.catalog/v1', sources })}\n`)
  if (sources.length === 0)
    return print('nothing yet: coordinator catalog refresh, or catalog import <file>\n')
  const lines = sources.map(
    ({ name, as_of, fetched_at, error }) =>
      `${name.padEnd(28)}  ${(as_of ?? fetched_at ?? 'never fetched').padEnd(24)}  ${error ?? 'ok'}`,
  )
  return print(`${lines.join('\n')}\n`)
}

async function refresh({ invocation, config, store, signal, print }: Ports): Promise<number> {
  const { region } = invocation.own
  const regions = typeof region === 'string' ? [region] : config.aws_region
  const pacer = createPacer({
    clock: systemClock,
    random: Math.random,
    perSecond: 5,
    burst: 5,
    patience: minutes(2),
  })
  const { refresh: run } = createCatalog({
    store,
    source:
      regions.length === 0
        ? undefined
        : createEc2Catalog({ clients: createEc2Clients({ endpoint: config.ec2_endpoint }), pacer }),
    regions,
    advisorUrl: config.spot_advisor_url,
    fetch: globalThis.fetch,
    clock: systemClock,
    log: pino({ level: 'silent' }),
  })
  const outcomes = await run(signal)
  print(
    invocation.json
      ? `${JSON.stringify({ schema: 'understudy.catalog-refresh/v1', outcomes })}\n`
      : outcomes
          .map(({ name, outcome, note }) => `${name.padEnd(28)}  ${outcome.padEnd(9)}  ${note}\n`)
          .join(''),
  )
  return outcomes.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

async function importFile({ invocation, store, audit, signal, print }: Ports): Promise<number> {
  const path = onlyFile(invocation)
  if (path === undefined) throw new AppError('input_invalid', 'which file? catalog import <file>')
  const now = systemClock.now()
  const given = invocation.own['as-of']
  const asOf = typeof given === 'string' ? parseAsOf(given, now) : null
  const { kind, rows, refused } = await importCatalogFile({ path, asOf, at: now }, store, signal)
  await audit.record({ actor: 'command line', action: 'catalog.import', object: path, after: { kind, rows } })
  if (invocation.json)
    return print(`${JSON.stringify({ schema: 'understudy.catalog-import/v1', kind, rows, refused })}\n`)
  return print(`${kind}: ${rows} rows${refused > 0 ? `, ${refused} refused` : ''}\n`)
}

/** To the file that is named, or to standard output. */
async function exportFile({ invocation, config, store, print }: Ports): Promise<number> {
  const path = onlyFile(invocation)
  const region = typeof invocation.own.region === 'string' ? invocation.own.region : config.aws_region[0]
  if (region === undefined)
    throw new AppError('input_invalid', 'of which region? catalog export --region <region> [file]')
  const advisor = await store.advisor(region, 'Linux')
  const zones = (await store.zones(region)).map(({ name }) => name)
  if (advisor.length === 0 || zones.length === 0)
    throw new AppError(
      'not_found',
      `the catalog has no ${advisor.length === 0 ? 'Spot Advisor data' : 'zones'} of ${region}`,
      {
        hint: `coordinator catalog refresh --region ${region}, or coordinator catalog import <file>`,
      },
    )
  const content = toStaticIntelligence({ region, zones, advisor, types: await store.instanceTypes() })
  const text = `${JSON.stringify(content, null, 2)}\n`
  if (path === undefined) return print(text)
  try {
    writeFileSync(path, text)
  } catch (cause) {
    throw new AppError('input_invalid', `${path} cannot be written (${messageOf(cause)})`, { cause })
  }
  return 0
}

function onlyFile({ words }: Invocation): string | undefined {
  if (words.length > 2) throw new AppError('input_invalid', `one file at a time: ${words.slice(1).join(' ')}`)
  return words[1]
}

const iso = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString())
