import { type Clock, hours, type Instant, instant, minutes, plus } from '@understudy/shared/core/time'
import { gapClasses } from '@understudy/shared/market/gap'
import { refusalCodes } from '@understudy/shared/market/sample'
import { Counter, Gauge, type Registry } from 'prom-client'
import type { Kysely, Schema } from '../storage/database.ts'
import { ageOf } from './catalog.ts'
import type { CatalogStore } from './catalog-store.ts'
import type { ScanResult } from './gap-filler.ts'
import type { IngestResult } from './ingest.ts'
import type { SavingsBook } from './savings.ts'

/** What Prometheus sees of the market. Labels are codes, classes and parts of the catalog: never a pool or an instance. */
export interface MarketMetrics {
  submitted(result: IngestResult): void
  scanned(result: ScanResult): void
}

const PREFIX = 'understudy_'
const DAY = hours(24)
const DAYS_30 = hours(30 * 24)
/** Sums over a month need not be new at each scrape. */
const SAVINGS_KEPT = minutes(10)
const outcomes = ['accepted', 'duplicate', 'refused'] as const
const fetchStates = ['queued', 'running', 'done', 'failed', 'cancelled'] as const
const gapStates = ['open', 'filled', 'empty', 'stale'] as const

export function createMarketMetrics(parts: {
  readonly registry: Registry
  readonly db: Kysely<Schema>
  readonly catalog: Pick<CatalogStore, 'sources'>
  readonly savings: SavingsBook
  readonly clock: Clock
}): MarketMetrics {
  const { registry, db, catalog, clock } = parts
  const registers = [registry]
  const rows = new Counter({
    name: `${PREFIX}price_rows_total`,
    help: 'Rows of prices that agents have sent',
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of outcomes) rows.inc({ outcome }, 0)
  const refused = new Counter({
    name: `${PREFIX}price_rows_refused_total`,
    help: 'Rows of prices that were refused, by reason',
    labelNames: ['code'],
    registers,
  })
  for (const code of [...refusalCodes, 'instance_unknown']) refused.inc({ code }, 0)
  const acceptedAt = new Gauge({
    name: `${PREFIX}price_accepted_timestamp_seconds`,
    help: 'When a price of an agent was last accepted; 0 before the first one since the start',
    registers,
  })
  const scannedAt = new Gauge({
    name: `${PREFIX}gap_scan_timestamp_seconds`,
    help: 'When the last scan for gaps ended; 0 before the first one since the start',
    registers,
  })
  const scanTook = new Gauge({
    name: `${PREFIX}gap_scan_duration_seconds`,
    help: 'How long the last scan for gaps took',
    registers,
  })
  const interpolated = new Counter({
    name: `${PREFIX}prices_interpolated_total`,
    help: 'Prices that scans have interpolated',
    registers,
  })
  addGauges(registers, db, clock)
  addCatalog(registers, catalog, clock)
  addSavings(registers, parts.savings, clock)

  const now = () => clock.now() / 1000
  return {
    submitted(result) {
      rows.inc({ outcome: 'accepted' }, result.accepted)
      rows.inc({ outcome: 'duplicate' }, result.duplicates)
      rows.inc({ outcome: 'refused' }, result.refused)
      for (const { code } of result.errors) refused.inc({ code })
      if (result.accepted > 0) acceptedAt.set(now())
    },
    scanned(result) {
      scannedAt.set(now())
      scanTook.set(result.millis / 1000)
      interpolated.inc(result.rows)
    },
  }
}

type Registers = readonly Registry[]

function addGauges(registers: Registers, db: Kysely<Schema>, clock: Clock): void {
  new Gauge({
    name: `${PREFIX}price_gaps`,
    help: 'Gaps that began within the last 24 hours, by class and what became of them',
    labelNames: ['gap_class', 'status'],
    registers: [...registers],
    async collect() {
      this.reset()
      for (const gap_class of gapClasses) for (const status of gapStates) this.set({ gap_class, status }, 0)
      const counts = await db
        .selectFrom('data_gaps')
        .select((eb) => ['gap_class', 'status', eb.fn.countAll().as('count')])
        .where('from_at', '>=', clock.now() - DAY)
        .groupBy(['gap_class', 'status'])
        .execute()
      for (const { gap_class, status, count } of counts) this.set({ gap_class, status }, Number(count))
    },
  })
  new Gauge({
    name: `${PREFIX}price_pools`,
    help: 'Pools of which something is known',
    registers: [...registers],
    async collect() {
      const { count } = await db
        .selectFrom('pools')
        .select((eb) => eb.fn.countAll().as('count'))
        .executeTakeFirstOrThrow()
      this.set(Number(count))
    },
  })
  new Gauge({
    name: `${PREFIX}price_fetches`,
    help: 'Fetches and imports of price histories, by their state',
    labelNames: ['status'],
    registers: [...registers],
    async collect() {
      for (const status of fetchStates) this.set({ status }, 0)
      const counts = await db
        .selectFrom('price_fetches')
        .select((eb) => ['status', eb.fn.countAll().as('count')])
        .groupBy('status')
        .execute()
      for (const { status, count } of counts) this.set({ status }, Number(count))
    },
  })
}

function addCatalog(registers: Registers, catalog: Pick<CatalogStore, 'sources'>, clock: Clock): void {
  const failing = new Gauge({
    name: `${PREFIX}catalog_failing`,
    help: 'Whether the last look at a part of the catalog failed; its last good copy is in use',
    labelNames: ['source'],
    registers: [...registers],
  })
  new Gauge({
    name: `${PREFIX}catalog_age_seconds`,
    help: 'Age of the data of each part of the catalog',
    labelNames: ['source'],
    registers: [...registers],
    async collect() {
      this.reset()
      failing.reset()
      for (const row of await catalog.sources()) {
        const { name: source } = row
        const age = ageOf(row, clock)
        failing.set({ source }, row.error === null ? 0 : 1)
        if (age !== null) this.set({ source }, age / 1000)
      }
    },
  })
}

function addSavings(registers: Registers, savings: SavingsBook, clock: Clock): void {
  let known: { readonly until: Instant; readonly usd: number } | undefined
  new Gauge({
    name: 'spot_cost_savings_usd',
    help: 'What spot has saved against on-demand in the last 30 days, net of double running; hours without a real price are left out',
    registers: [...registers],
    async collect() {
      const now = clock.now()
      if (!known || now >= known.until) {
        const range = { from: instant(now - DAYS_30), to: now }
        known = { until: plus(now, SAVINGS_KEPT), usd: (await savings.of(null, range)).net_savings }
      }
      this.set(known.usd)
    },
  })
}
