import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, hours, instant, millis, minutes } from '@understudy/shared/core/time'
import { zoneNames } from '@understudy/shared/market/zone'
import type { Logger } from 'pino'
import type { CatalogSource } from '../cloud/catalog-source.ts'
import type { CatalogSourceRow } from '../storage/database.ts'
import { createKnownCatalog, type KnownCatalog } from './catalog-known.ts'
import type { CatalogStore, SourceName } from './catalog-store.ts'
import { download } from './download.ts'
import { parseSpotAdvisor } from './spot-advisor.ts'

/** What a region sells, and how risky it is: kept current, and the last good copy of each part whatever happens. */
export interface Catalog extends Service {
  /** Looks at every part now. Failures are outcomes, not errors: they are also written down for each part. */
  refresh(signal: AbortSignal): Promise<readonly RefreshOutcome[]>
  /** What rows of prices are measured against, as of the last `load` or refresh. */
  readonly known: KnownCatalog
}

export interface RefreshOutcome {
  readonly name: SourceName
  readonly outcome: 'replaced' | 'unchanged' | 'failed'
  readonly note: string
}

export interface CatalogParts {
  readonly store: CatalogStore
  /** None where there is no AWS account: then only the Spot Advisor is looked at. */
  readonly source: CatalogSource | undefined
  readonly regions: readonly string[]
  readonly advisorUrl: string
  readonly fetch: typeof globalThis.fetch
  readonly clock: Clock
  readonly log: Logger
}

/** How often the Spot Advisor is looked at. */
const PERIOD = hours(6)
/** What changes seldom. */
const SLOW_PERIOD = hours(24)
const LOOK = minutes(10)
/** After a failure. */
const RETRY = minutes(30)
const ADVISOR_DEADLINE = minutes(2)
const SOURCE_DEADLINE = minutes(15)
/** The file of 2025 has 2 MB. */
const MOST_BYTES = 16_000_000

interface Part {
  readonly name: SourceName
  readonly url: string
  readonly period: number
  readonly deadline: number
  refresh(known: CatalogSourceRow | undefined, signal: AbortSignal): Promise<string | undefined>
}

/** Run by one coordinator at a time. */
export function createCatalog(parts: CatalogParts): Catalog {
  const { store, clock, log } = parts
  const all = partsOf(parts)
  const known = createKnownCatalog(store)

  async function refreshOne(part: Part, signal: AbortSignal): Promise<RefreshOutcome> {
    const { name, url } = part
    try {
      const within = AbortSignal.any([signal, AbortSignal.timeout(part.deadline)])
      const note = await part.refresh(await store.source(name), within)
      if (note !== undefined) return { name, outcome: 'replaced', note }
      await store.unchanged(name, clock.now())
      return { name, outcome: 'unchanged', note: 'nothing new' }
    } catch (error) {
      signal.throwIfAborted()
      // Expected is what a source or the network answers; anything else, such as the database's, keeps its stack.
      const expected = isAppError(error) || error instanceof DOMException
      if (expected) log.warn({ event: 'catalog.failed', source: name, why: messageOf(error) })
      else log.error({ event: 'catalog.failed', source: name, err: error })
      await store.failed(name, url, clock.now(), messageOf(error))
      return { name, outcome: 'failed', note: messageOf(error) }
    }
  }

  async function refreshWhere(due: (part: Part) => Promise<boolean>, signal: AbortSignal) {
    const outcomes: RefreshOutcome[] = []
    for (const part of all) if (await due(part)) outcomes.push(await refreshOne(part, signal))
    if (outcomes.some(({ outcome }) => outcome === 'replaced')) await known.load()
    return outcomes
  }

  async function isDue({ name, period }: Part): Promise<boolean> {
    const row = await store.source(name)
    return !row || clock.now() - row.checked_at >= (row.error === null ? period : RETRY)
  }

  return {
    name: 'catalog',
    known,
    refresh: (signal) => refreshWhere(() => Promise.resolve(true), signal),
    async run(signal) {
      await everyPeriod(clock, LOOK, signal, async () => {
        try {
          // `coordinator catalog import` writes into the same database from another process.
          await known.load()
          await refreshWhere(isDue, signal)
        } catch (error) {
          if (!signal.aborted) log.error({ event: 'catalog.refresh_failed', err: error })
        }
      })
    },
  }
}

function partsOf({ store, source, regions, advisorUrl, fetch, clock }: CatalogParts): Part[] {
  const advisor: Part = {
    name: 'spot-advisor',
    url: advisorUrl,
    period: PERIOD,
    deadline: ADVISOR_DEADLINE,
    async refresh(known, signal) {
      const etag = known?.fetched_at ? known.etag : null
      const file = await download(advisorUrl, { fetch, etag, most: MOST_BYTES }, signal)
      if (!file) return undefined
      const { entries, refused } = parseSpotAdvisor(file.text)
      const asOf = file.modified === null ? null : instant(file.modified)
      await store.replaceAdvisor(entries, {
        name: 'spot-advisor',
        url: advisorUrl,
        etag: file.etag,
        asOf,
        at: clock.now(),
      })
      return `${entries.length} entries${refused > 0 ? `, ${refused} refused` : ''}`
    },
  }
  if (!source) return [advisor]
  return [advisor, ...regions.flatMap((region) => regionParts(region, source, store, clock))]
}

function regionParts(region: string, source: CatalogSource, store: CatalogStore, clock: Clock): Part[] {
  const part = <T>(
    kind: string,
    url: string,
    ask: (region: string, signal: AbortSignal) => Promise<readonly T[]>,
    keep: (items: readonly T[], origin: Parameters<CatalogStore['addInstanceTypes']>[1]) => Promise<void>,
  ): Part => {
    const name = `${kind}/${region}`
    return {
      name,
      url,
      period: SLOW_PERIOD,
      deadline: SOURCE_DEADLINE,
      async refresh(_, signal) {
        const items = await ask(region, signal)
        if (items.length === 0)
          throw new AppError('protocol', `there are no ${kind} for ${region} in the answer`, {
            hint: 'The last good copy stays in use.',
          })
        await keep(items, { name, url, etag: null, asOf: null, at: clock.now() })
        return `${items.length} ${kind}`
      },
    }
  }
  return [
    part('zones', 'ec2:DescribeAvailabilityZones', source.zones, (zones, origin) => {
      zoneNames(zones)
      return store.replaceZones(region, zones, origin)
    }),
    part('instance-types', 'ec2:DescribeInstanceTypes', source.instanceTypes, store.addInstanceTypes),
    part('on-demand', 'pricing:GetProducts', source.onDemandPrices, (prices, origin) =>
      store.replaceOnDemand(region, prices, origin),
    ),
  ]
}

/** How old the data of a source is; null when there is none yet. */
export const ageOf = (row: CatalogSourceRow, clock: Clock) =>
  row.fetched_at === null ? null : millis(clock.now() - (row.as_of ?? row.fetched_at))
