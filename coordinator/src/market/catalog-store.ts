import { microUsd } from '@understudy/shared/core/money'
import { type Instant, instant } from '@understudy/shared/core/time'
import type { InterruptionBand } from '@understudy/shared/market/pool'
import { type RawBuilder, sql } from 'kysely'
import type { CatalogZone, InstanceType, OnDemandPrice } from '../cloud/catalog-source.ts'
import type {
  CatalogSourceRow,
  Kysely,
  OnDemandPriceRow,
  Schema,
  SpotAdvisorRow,
  Transaction,
} from '../storage/database.ts'
import type { AdvisorEntry } from './spot-advisor.ts'

/** `spot-advisor`, and per region `instance-types/<region>`, `on-demand/<region>`, `zones/<region>`. */
export type SourceName = string

/** How a part of the catalog was come by. */
export interface Origin {
  readonly name: SourceName
  readonly url: string
  readonly etag: string | null
  /** Of the data itself, where it says so. */
  readonly asOf: Instant | null
  readonly at: Instant
}

/**
 * What is replaced is there as a whole, or the last good copy still is. The Spot Advisor's 25,000 rows go region by region, so that
 * nobody waits long for the database; half done it still counts as the old file, and is done again.
 */
export interface CatalogStore {
  sources(): Promise<readonly CatalogSourceRow[]>
  source(name: SourceName): Promise<CatalogSourceRow | undefined>
  /** Looked at, and nothing new. */
  unchanged(name: SourceName, at: Instant): Promise<void>
  /** Looked at in vain; the last good copy stays. */
  failed(name: SourceName, url: string, at: Instant, error: string): Promise<void>
  replaceAdvisor(entries: readonly AdvisorEntry[], origin: Origin): Promise<void>
  /** Types stay known when a region does not sell them any more. */
  addInstanceTypes(types: readonly InstanceType[], origin: Origin): Promise<void>
  replaceOnDemand(region: string, prices: readonly OnDemandPrice[], origin: Origin): Promise<void>
  replaceZones(region: string, zones: readonly CatalogZone[], origin: Origin): Promise<void>
  advisor(region: string, os: AdvisorEntry['os']): Promise<readonly StoredAdvisorEntry[]>
  instanceTypes(): Promise<readonly InstanceType[]>
  /** Of every region when none is given. */
  onDemand(region?: string): Promise<readonly OnDemandPrice[]>
  zones(region?: string): Promise<readonly CatalogZone[]>
  /** In the order of region and type, from `after` on. */
  advisorPage(query: CatalogPage): Promise<readonly StoredAdvisorEntry[]>
  onDemandPage(query: CatalogPage): Promise<readonly StoredOnDemandPrice[]>
}

export interface CatalogPage {
  readonly os: string
  readonly region?: string | undefined
  readonly instanceType?: string | undefined
  /** The last one of the page before. */
  readonly after?: { readonly region: string; readonly instanceType: string } | undefined
  readonly limit: number
}

export interface StoredAdvisorEntry extends AdvisorEntry {
  readonly asOf: Instant | null
  readonly fetchedAt: Instant
}

export interface StoredOnDemandPrice extends OnDemandPrice {
  readonly source: string
  readonly fetchedAt: Instant
}

/** Rows per statement: below the limit of parameters of either database. */
const BATCH = 500

export function createCatalogStore(db: Kysely<Schema>): CatalogStore {
  type Table = 'on_demand_prices' | 'availability_zones'

  async function remember(tx: Transaction<Schema>, { name, url, etag, asOf, at }: Origin): Promise<void> {
    const row = { url, etag, as_of: asOf, fetched_at: at, checked_at: at, error: null }
    await tx
      .insertInto('catalog_sources')
      .values({ name, ...row })
      .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
      .execute()
  }

  async function insertAll<T>(rows: readonly T[], insert: (batch: T[]) => Promise<unknown>): Promise<void> {
    for (let i = 0; i < rows.length; i += BATCH) await insert(rows.slice(i, i + BATCH))
  }

  const replace = (table: Table, region: string, origin: Origin, fill: Fill) =>
    db.transaction().execute(async (tx) => {
      await tx.deleteFrom(table).where('region', '=', region).execute()
      await fill(tx)
      await remember(tx, origin)
    })

  return {
    sources: () => db.selectFrom('catalog_sources').selectAll().orderBy('name').execute(),
    source: (name) =>
      db.selectFrom('catalog_sources').selectAll().where('name', '=', name).executeTakeFirst(),
    async unchanged(name, at) {
      await db
        .updateTable('catalog_sources')
        .set({ checked_at: at, error: null })
        .where('name', '=', name)
        .execute()
    },
    async failed(name, url, at, error) {
      await db
        .insertInto('catalog_sources')
        .values({ name, url, etag: null, as_of: null, fetched_at: null, checked_at: at, error })
        .onConflict((conflict) => conflict.column('name').doUpdateSet({ checked_at: at, error }))
        .execute()
    },
    async replaceAdvisor(entries, origin) {
      const regions = Map.groupBy(entries, ({ region }) => region)
      for (const [region, own] of regions)
        await db.transaction().execute(async (tx) => {
          await tx.deleteFrom('spot_advisor_data').where('region', '=', region).execute()
          await insertAll(own, (batch) =>
            tx
              .insertInto('spot_advisor_data')
              .values(batch.map((entry) => toAdvisorRow(entry, origin)))
              .execute(),
          )
        })
      await db.transaction().execute(async (tx) => {
        await tx
          .deleteFrom('spot_advisor_data')
          .where('region', 'not in', [...regions.keys()])
          .execute()
        await remember(tx, origin)
      })
    },
    async addInstanceTypes(types, origin) {
      await db.transaction().execute(async (tx) => {
        await insertAll(
          onePer(types, ({ instanceType }) => instanceType),
          (batch) =>
            tx
              .insertInto('instance_types')
              .values(batch.map((type) => toTypeRow(type, origin)))
              .onConflict((conflict) =>
                conflict.column('instance_type').doUpdateSet((eb) => ({
                  vcpu: eb.ref('excluded.vcpu'),
                  memory_mib: eb.ref('excluded.memory_mib'),
                  architecture: eb.ref('excluded.architecture'),
                  gpu_count: eb.ref('excluded.gpu_count'),
                  gpu_name: eb.ref('excluded.gpu_name'),
                  network_gbps: eb.ref('excluded.network_gbps'),
                  burstable: eb.ref('excluded.burstable'),
                  bare_metal: eb.ref('excluded.bare_metal'),
                  source: eb.ref('excluded.source'),
                  as_of: eb.ref('excluded.as_of'),
                })),
              )
              .execute(),
        )
        await remember(tx, origin)
      })
    },
    async replaceOnDemand(region, prices, origin) {
      await replace('on_demand_prices', region, origin, (tx) =>
        insertAll(
          onePer(prices, ({ instanceType, os }) => `${instanceType} ${os}`),
          (batch) =>
            tx
              .insertInto('on_demand_prices')
              .values(
                batch.map(({ instanceType, os, price, asOf }) => ({
                  instance_type: instanceType,
                  region,
                  os,
                  price,
                  source: origin.url,
                  as_of: asOf ?? origin.asOf,
                  fetched_at: origin.at,
                })),
              )
              .execute(),
        ),
      )
    },
    async replaceZones(region, zones, origin) {
      await replace('availability_zones', region, origin, (tx) =>
        insertAll(
          onePer(zones, ({ name }) => name),
          (batch) =>
            tx
              .insertInto('availability_zones')
              .values(
                batch.map(({ name, id }) => ({
                  az_name: name,
                  az_id: id,
                  region,
                  source: origin.url,
                  fetched_at: origin.at,
                })),
              )
              .execute(),
        ),
      )
    },
    async advisor(region, os) {
      const rows = await db
        .selectFrom('spot_advisor_data')
        .selectAll()
        .where('region', '=', region)
        .where('os', '=', os)
        .orderBy('instance_type')
        .execute()
      return rows.map(fromAdvisorRow)
    },
    async advisorPage(query) {
      const { rows } = await sql<SpotAdvisorRow>`
        select * from spot_advisor_data where ${pageCondition(query)}
        order by region, instance_type limit ${query.limit}`.execute(db)
      return rows.map(fromAdvisorRow)
    },
    async onDemandPage(query) {
      const { rows } = await sql<OnDemandPriceRow>`
        select * from on_demand_prices where ${pageCondition(query)}
        order by region, instance_type limit ${query.limit}`.execute(db)
      return rows.map((row) => ({
        ...fromPriceRow(row),
        source: row.source,
        fetchedAt: instant(row.fetched_at),
      }))
    },
    async instanceTypes() {
      const rows = await db.selectFrom('instance_types').selectAll().orderBy('instance_type').execute()
      return rows.map((row) => ({
        instanceType: row.instance_type,
        vcpu: row.vcpu,
        memoryMib: row.memory_mib,
        architecture: row.architecture as InstanceType['architecture'],
        gpuCount: row.gpu_count,
        gpuName: row.gpu_name,
        networkGbps: row.network_gbps,
        burstable: row.burstable === 1,
        bareMetal: row.bare_metal === 1,
      }))
    },
    async onDemand(region) {
      const all = db
        .selectFrom('on_demand_prices')
        .selectAll()
        .where('os', '=', 'Linux')
        .orderBy('region')
        .orderBy('instance_type')
      const rows = await (region === undefined ? all : all.where('region', '=', region)).execute()
      return rows.map(fromPriceRow)
    },
    async zones(region) {
      const all = db.selectFrom('availability_zones').selectAll().orderBy('az_name')
      const rows = await (region === undefined ? all : all.where('region', '=', region)).execute()
      return rows.map((row) => ({ name: row.az_name, id: row.az_id, region: row.region }))
    },
  }
}

/** An answer may name the same thing twice, a table may not: the last one stands. */
const onePer = <T>(items: readonly T[], keyOf: (item: T) => string): readonly T[] => [
  ...new Map(items.map((item) => [keyOf(item), item])).values(),
]

type Fill = (tx: Transaction<Schema>) => Promise<void>

function pageCondition({ os, region, instanceType, after }: CatalogPage): RawBuilder<unknown> {
  const conditions = [sql`os = ${os}`]
  if (region !== undefined) conditions.push(sql`region = ${region}`)
  if (instanceType !== undefined) conditions.push(sql`instance_type = ${instanceType}`)
  if (after) conditions.push(sql`(region, instance_type) > (${after.region}, ${after.instanceType})`)
  return sql.join(conditions, sql` and `)
}

const fromAdvisorRow = (row: SpotAdvisorRow): StoredAdvisorEntry => ({
  instanceType: row.instance_type,
  region: row.region,
  os: row.os as AdvisorEntry['os'],
  band: row.band as InterruptionBand,
  savingsPercent: row.savings_percent,
  asOf: row.as_of === null ? null : instant(row.as_of),
  fetchedAt: instant(row.fetched_at),
})

const fromPriceRow = (row: OnDemandPriceRow): OnDemandPrice => ({
  instanceType: row.instance_type,
  region: row.region,
  os: row.os as OnDemandPrice['os'],
  price: microUsd(row.price),
  asOf: row.as_of === null ? null : instant(row.as_of),
})

const toAdvisorRow = (entry: AdvisorEntry, { asOf, at }: Origin) => ({
  instance_type: entry.instanceType,
  region: entry.region,
  os: entry.os,
  band: entry.band,
  savings_percent: entry.savingsPercent,
  as_of: asOf,
  fetched_at: at,
})

const toTypeRow = (type: InstanceType, { url, asOf, at }: Origin) => ({
  instance_type: type.instanceType,
  vcpu: type.vcpu,
  memory_mib: type.memoryMib,
  architecture: type.architecture,
  gpu_count: type.gpuCount,
  gpu_name: type.gpuName,
  network_gbps: type.networkGbps,
  burstable: type.burstable ? 1 : 0,
  bare_metal: type.bareMetal ? 1 : 0,
  source: url,
  as_of: asOf ?? at,
})
