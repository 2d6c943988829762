import { setImmediate } from 'node:timers/promises'
import type { Service } from '@understudy/shared/core/service'
import {
  type Clock,
  everyPeriod,
  hours,
  type Instant,
  instant,
  type Millis,
} from '@understudy/shared/core/time'
import { type RawBuilder, sql } from 'kysely'
import type { Logger } from 'pino'
import type { Kysely, Schema } from '../storage/database.ts'
import { dialectOf } from '../storage/dialect.ts'
import {
  dropPartition,
  dropPartitions,
  endedPartitions,
  ensurePartitions,
  type PartitionedTable,
} from '../storage/partitions.ts'
import type { PoolStore } from './pool-store.ts'

/** How long rows are kept. PostgreSQL drops whole months, so that they stay up to a month longer. */
export interface RetentionPolicy {
  /** The audit of what agents have sent. */
  readonly submissions: Millis
  /** Clean, interpolated and historical prices, and what is known of gaps. What was imported is kept for good. */
  readonly prices: Millis
}

export interface Retention extends Service {
  /** Returns how many rows (SQLite) or partitions (PostgreSQL) went. */
  purge(signal?: AbortSignal): Promise<number>
}

const EVERY = hours(6)
/** Rows of one deletion: others wait no longer than it takes. On SQLite everything in the process waits. */
const SLICE = 5000

export function createRetention(parts: {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly pools: PoolStore
  readonly policy: RetentionPolicy
  readonly inOrder: <T>(task: () => Promise<T>) => Promise<T>
}): Retention {
  const { db, clock, log, pools, policy, inOrder } = parts

  async function purge(signal = new AbortController().signal): Promise<number> {
    const before = (kept: Millis) => instant(clock.now() - kept)
    const prices = before(policy.prices)
    for (const { id } of await pools.all()) {
      signal.throwIfAborted()
      await inOrder(() => carryHistory(db, id, prices))
      await setImmediate()
    }
    const gone =
      dialectOf(db) === 'postgres'
        ? await dropMonths(prices, before(policy.submissions))
        : await deleteRows(prices, before(policy.submissions), signal)
    await inOrder(() => db.deleteFrom('data_gaps').where('to_at', '<=', prices).execute())
    return gone
  }

  async function dropMonths(prices: Instant, submissions: Instant): Promise<number> {
    let dropped = 0
    for (const table of SEEN) dropped += (await inOrder(() => dropPartitions(db, table, prices))).length
    for (const name of await endedPartitions(db, 'price_changes', prices))
      if (await inOrder(() => dropUnlessImported(name))) dropped += 1
    const raw = await inOrder(() => dropPartitions(db, 'pricing_submissions_raw', submissions, NO_TIME))
    // Refusals without a time lie together, whatever their age.
    await inOrder(() =>
      db
        .deleteFrom('pricing_submissions_raw')
        .where('sampled_at', '=', 0)
        .where('received_at', '<', submissions)
        .execute(),
    )
    const now = clock.now()
    const next = [now, instant(now + hours(24 * 31))]
    for (const table of ALL) await inOrder(() => ensurePartitions(db, table, next))
    return dropped + raw.length
  }

  /** Of a month with imported prices those alone stay, also when an import is adding the first of them now. */
  function dropUnlessImported(name: string): Promise<boolean> {
    const month = sql.table(name)
    return db.transaction().execute(async (trx) => {
      await sql`lock table only price_changes in access exclusive mode`.execute(trx)
      const { rows } = await sql`select 1 from ${month} where source = 'import' limit 1`.execute(trx)
      if (rows.length === 0) await dropPartition(trx, name)
      else await sql`delete from ${month} where source <> 'import'`.execute(trx)
      return rows.length === 0
    })
  }

  async function deleteRows(prices: Instant, submissions: Instant, signal: AbortSignal): Promise<number> {
    let gone = 0
    for (const { id } of await pools.all())
      for (const table of PRICES) {
        const old = sql`pool = ${id} and at < ${prices}`
        const theirs = table === 'price_changes' ? sql`${old} and source <> 'import'` : old
        gone += await inSlices(
          signal,
          sql`
          delete from ${sql.table(table)} where pool = ${id} and at in
          (select at from ${sql.table(table)} where ${theirs} order by at limit ${SLICE})`,
        )
      }
    // Ids grow with the time of arrival.
    gone += await inSlices(
      signal,
      sql`
      delete from pricing_submissions_raw where received_at < ${submissions} and id in
      (select id from pricing_submissions_raw order by id limit ${SLICE})`,
    )
    return gone
  }

  async function inSlices(signal: AbortSignal, slice: RawBuilder<unknown>): Promise<number> {
    for (let gone = 0; ; ) {
      signal.throwIfAborted()
      const { numAffectedRows } = await inOrder(() => slice.execute(db))
      await setImmediate()
      const rows = Number(numAffectedRows ?? 0)
      gone += rows
      if (rows < SLICE) return gone
    }
  }

  return {
    name: 'price-retention',
    purge,
    run: (signal) =>
      everyPeriod(clock, EVERY, signal, async () => {
        try {
          const gone = await purge(signal)
          if (gone > 0) log.info({ event: 'prices.purged', gone })
        } catch (error) {
          if (!signal.aborted) log.error({ event: 'prices.purge_failed', err: error })
        }
      }),
  }
}

const SEEN: readonly PartitionedTable[] = ['pricing_snapshots_clean', 'pricing_snapshots_interpolated']
const PRICES: readonly PartitionedTable[] = [...SEEN, 'price_changes']
const ALL: readonly PartitionedTable[] = [...PRICES, 'pricing_submissions_raw']
/** The month of rows whose time could not be read. */
const NO_TIME = instant(0)

/**
 * The price that held when what is kept begins came from a change before it: it is written as one, so that nothing that is
 * kept loses its price. What was imported is whole and stays so.
 */
async function carryHistory(db: Kysely<Schema>, pool: number, from: Instant): Promise<void> {
  const cut = await db
    .selectFrom('price_coverage')
    .select(['from_at', 'to_at'])
    .where('pool', '=', pool)
    .where('source', '<>', 'import')
    .where('to_at', '>', from)
    .where('from_at', '<', from)
    .executeTakeFirst()
  if (cut) {
    const last = await db
      .selectFrom('price_changes')
      .select('price')
      .where('pool', '=', pool)
      .where('at', '<=', from)
      .orderBy('at', 'desc')
      .limit(1)
      .executeTakeFirst()
    await ensurePartitions(db, 'price_changes', [from])
    await db.transaction().execute(async (trx) => {
      if (last)
        await trx
          .insertInto('price_changes')
          .values({ pool, at: from, price: last.price, source: 'history' })
          .onConflict((conflict) => conflict.doNothing())
          .execute()
      await trx
        .updateTable('price_coverage')
        .set({ from_at: from })
        .where('pool', '=', pool)
        .where('from_at', '=', cut.from_at)
        .execute()
    })
  }
  await db
    .deleteFrom('price_coverage')
    .where('pool', '=', pool)
    .where('source', '<>', 'import')
    .where('to_at', '<=', from)
    .execute()
}
