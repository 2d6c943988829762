import { parsePool, regionOf } from '@understudy/shared/market/pool'
import { sql } from 'kysely'
import { rowsOf } from '../storage/bulk.ts'
import type { Kysely, Schema } from '../storage/database.ts'

export interface KnownPool {
  readonly poolId: string
  readonly instanceType: string
  readonly availabilityZone: string
  readonly region: string
}

/** Pools and the numbers under which their prices are kept. A number never changes, so what was read once is kept. */
export interface PoolStore {
  /** The numbers of these pools, which are made if they are new. */
  ensure(poolIds: Iterable<string>): Promise<ReadonlyMap<string, number>>
  /** The number of a pool; undefined when nothing was ever said about it. */
  find(poolId: string): Promise<number | undefined>
  /** Those of these of which nothing was ever said. */
  unknown(poolIds: Iterable<string>): Promise<string[]>
  all(): Promise<readonly (KnownPool & { readonly id: number })[]>
}

export function createPoolStore(db: Kysely<Schema>): PoolStore {
  const numbers = new Map<string, number>()

  async function read(poolIds: readonly string[]): Promise<void> {
    if (poolIds.length === 0) return
    const wanted = rowsOf(
      db,
      { pool_id: 'text' },
      poolIds.map((id) => ({ pool_id: id })),
    )
    const { rows } = await sql<{ id: number; pool_id: string }>`
      select pools.id, pools.pool_id from ${wanted} cross join pools where pools.pool_id = given.pool_id`.execute(
      db,
    )
    for (const { id, pool_id } of rows) numbers.set(pool_id, id)
  }

  async function add(poolIds: readonly string[]): Promise<void> {
    const rows = poolIds.map((id) => {
      const { instanceType, availabilityZone } = parsePool(id)
      return {
        pool_id: id,
        instance_type: instanceType,
        availability_zone: availabilityZone,
        region: regionOf(availabilityZone),
      }
    })
    await sql`
      insert into pools (pool_id, instance_type, availability_zone, region)
      select pool_id, instance_type, availability_zone, region from ${rowsOf(db, COLUMNS, rows)}
      where true on conflict do nothing`.execute(db)
  }

  return {
    async ensure(poolIds) {
      const wanted = [...new Set(poolIds)]
      const unread = wanted.filter((id) => !numbers.has(id))
      await read(unread)
      const missing = unread.filter((id) => !numbers.has(id)).sort()
      if (missing.length > 0) {
        await add(missing)
        await read(missing)
      }
      return new Map(wanted.map((id) => [id, numbers.get(id) as number]))
    },
    async unknown(poolIds) {
      const unread = [...new Set(poolIds)].filter((id) => !numbers.has(id))
      await read(unread)
      return unread.filter((id) => !numbers.has(id))
    },
    async find(poolId) {
      if (!numbers.has(poolId)) await read([poolId])
      return numbers.get(poolId)
    },
    async all() {
      const rows = await db
        .selectFrom('pools')
        .select(['id', 'pool_id', 'instance_type', 'availability_zone', 'region'])
        .orderBy('id')
        .execute()
      return rows.map((row) => ({
        id: row.id,
        poolId: row.pool_id,
        instanceType: row.instance_type,
        availabilityZone: row.availability_zone,
        region: row.region,
      }))
    },
  }
}

const COLUMNS = { pool_id: 'text', instance_type: 'text', availability_zone: 'text', region: 'text' } as const
