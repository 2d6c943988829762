import { type Instant, type Millis, plus } from '@understudy/shared/core/time'
import { sql } from 'kysely'
import type { Kysely, OutboxRow, Schema } from '../storage/database.ts'

export type NewMessage = Pick<
  OutboxRow,
  'id' | 'receiver' | 'thread' | 'stage' | 'kind' | 'agent_id' | 'text' | 'payload'
>

/** How the messages of one receiver stand. */
export interface ReceiverState {
  readonly waiting: number
  readonly oldestWaitingAt: number | null
  readonly lastSentAt: number | null
  readonly lastFailedAt: number | null
  readonly lastError: string | null
}

/**
 * What is still to be said, and what was. Several coordinators may use it at once: who claims a message sends it, and nobody
 * else does before the claim has run out. Messages of one thread go to a receiver in the order in which they were added.
 */
export interface Outbox {
  /** Those of them that were not added before, by anybody. */
  add(messages: readonly NewMessage[], now: Instant): Promise<readonly NewMessage[]>
  /** From when on each of these is told of anything: from now, for one that is new. */
  since(receivers: readonly string[], now: Instant): Promise<ReadonlyMap<string, number>>
  /** The first that is due, in the name of `claim`; undefined when there is none. */
  claim(receiver: string, claim: string, now: Instant, lease: Millis): Promise<OutboxRow | undefined>
  /** When the next one of a receiver may be due; undefined when none waits. */
  nextAt(receiver: string): Promise<number | undefined>
  /** Writes down how it went; false when the claim had run out and somebody else has it. */
  settle(row: OutboxRow, outcome: Settled): Promise<boolean>
  /** Not sent after all, and no attempt was made. */
  giveBack(row: OutboxRow): Promise<void>
  /** What the first message of a thread is called where it was sent. */
  threadRef(receiver: string, thread: string): Promise<string | null>
  states(): Promise<ReadonlyMap<string, ReceiverState>>
  list(filter: OutboxFilter): Promise<readonly OutboxRow[]>
  /** Removes what was said or given up before `before`. */
  purge(before: Instant): Promise<number>
}

export type Settled = Pick<
  OutboxRow,
  'status' | 'next_at' | 'last_at' | 'last_status' | 'last_error' | 'ref' | 'sent_at'
>

export interface OutboxFilter {
  readonly receiver?: string | undefined
  readonly thread?: string | undefined
  readonly status?: string | undefined
  /** The last one of the page before. */
  readonly before?: number | undefined
  readonly limit: number
}

export function createOutbox(db: Kysely<Schema>): Outbox {
  const rows = () => db.selectFrom('notification_outbox as own').selectAll('own')
  /** Those that nothing of their own thread has to come before. */
  const heads = (receiver: string) =>
    db
      .selectFrom('notification_outbox as own')
      .where('own.receiver', '=', receiver)
      .where('own.status', '=', 'waiting')
      .where((e) =>
        e.not(
          e.exists(
            e
              .selectFrom('notification_outbox as earlier')
              .select('earlier.seq')
              .whereRef('earlier.receiver', '=', 'own.receiver')
              .whereRef('earlier.thread', '=', 'own.thread')
              .whereRef('earlier.seq', '<', 'own.seq')
              .where('earlier.status', '=', 'waiting'),
          ),
        ),
      )

  return {
    async add(messages, now) {
      const added: NewMessage[] = []
      for (const message of messages) {
        const { numInsertedOrUpdatedRows: count } = await db
          .insertInto('notification_outbox')
          .values({
            ...message,
            ...{ status: 'waiting', attempts: 0, created_at: now, next_at: now },
            ...{ claim: null, claimed_until: null, last_at: null, last_status: null, last_error: null },
            ...{ ref: null, sent_at: null },
          })
          .onConflict((conflict) => conflict.columns(['receiver', 'thread', 'stage']).doNothing())
          .executeTakeFirstOrThrow()
        if (count === 1n) added.push(message)
      }
      return added
    },

    async since(receivers, now) {
      for (const name of receivers)
        await db
          .insertInto('notification_receivers')
          .values({ name, since: now })
          .onConflict((conflict) => conflict.column('name').doNothing())
          .execute()
      // Who was removed and is named again begins anew.
      await db
        .deleteFrom('notification_receivers')
        .$if(receivers.length > 0, (query) => query.where('name', 'not in', [...receivers]))
        .execute()
      const known = await db.selectFrom('notification_receivers').selectAll().execute()
      return new Map(known.map(({ name, since }) => [name, since]))
    },

    async claim(receiver, claim, now, lease) {
      const isFree = sql<boolean>`(claimed_until is null or claimed_until <= ${now})`
      const due = await heads(receiver)
        .selectAll('own')
        .where('own.next_at', '<=', now)
        .where((e) => e.or([e('own.claimed_until', 'is', null), e('own.claimed_until', '<=', now)]))
        .orderBy('own.next_at')
        .orderBy('own.seq')
        .limit(1)
        .executeTakeFirst()
      if (!due) return undefined
      const { numUpdatedRows: count } = await db
        .updateTable('notification_outbox')
        .set({ claim, claimed_until: plus(now, lease) })
        .where('seq', '=', due.seq)
        .where('status', '=', 'waiting')
        .where(isFree)
        .executeTakeFirstOrThrow()
      return count === 1n ? { ...due, claim, claimed_until: plus(now, lease) } : undefined
    },

    async nextAt(receiver) {
      const row = await heads(receiver)
        .select((e) => e.fn.min(e.fn.coalesce('own.claimed_until', 'own.next_at')).as('at'))
        .executeTakeFirst()
      return row?.at === null || row?.at === undefined ? undefined : Number(row.at)
    },

    async settle(row, outcome) {
      const { numUpdatedRows: count } = await db
        .updateTable('notification_outbox')
        .set({ ...outcome, attempts: row.attempts + 1, claim: null, claimed_until: null })
        .where('seq', '=', row.seq)
        .where('claim', '=', row.claim)
        .where('status', '=', 'waiting')
        .executeTakeFirstOrThrow()
      return count === 1n
    },

    async giveBack(row) {
      await db
        .updateTable('notification_outbox')
        .set({ claim: null, claimed_until: null })
        .where('seq', '=', row.seq)
        .where('claim', '=', row.claim)
        .execute()
    },

    async threadRef(receiver, thread) {
      const first = await db
        .selectFrom('notification_outbox')
        .select('ref')
        .where('receiver', '=', receiver)
        .where('thread', '=', thread)
        .where('ref', 'is not', null)
        .orderBy('seq')
        .limit(1)
        .executeTakeFirst()
      return first?.ref ?? null
    },

    async states() {
      const counted = await db
        .selectFrom('notification_outbox')
        .select((e) => [
          'receiver',
          e.fn.sum<number>(e.case().when('status', '=', 'waiting').then(1).else(0).end()).as('waiting'),
          e.fn.min(e.case().when('status', '=', 'waiting').then(e.ref('created_at')).end()).as('oldest'),
          e.fn.max('sent_at').as('sent'),
          e.fn.max(e.case().when('last_error', 'is not', null).then(e.ref('last_at')).end()).as('failed'),
        ])
        .groupBy('receiver')
        .execute()
      const states = new Map<string, ReceiverState>()
      for (const { receiver, waiting, oldest, sent, failed } of counted) {
        const lastError = failed === null ? null : await lastErrorOf(db, receiver, Number(failed))
        states.set(receiver, {
          waiting: Number(waiting),
          oldestWaitingAt: oldest === null ? null : Number(oldest),
          lastSentAt: sent === null ? null : Number(sent),
          lastFailedAt: failed === null ? null : Number(failed),
          lastError,
        })
      }
      return states
    },

    list({ receiver, thread, status, before, limit }) {
      let query = rows().orderBy('own.seq', 'desc').limit(limit)
      if (receiver !== undefined) query = query.where('own.receiver', '=', receiver)
      if (thread !== undefined) query = query.where('own.thread', '=', thread)
      if (status !== undefined) query = query.where('own.status', '=', status)
      if (before !== undefined) query = query.where('own.seq', '<', before)
      return query.execute()
    },

    async purge(before) {
      const { numDeletedRows: count } = await db
        .deleteFrom('notification_outbox')
        .where('created_at', '<', before)
        .where('status', '!=', 'waiting')
        .executeTakeFirstOrThrow()
      return Number(count)
    },
  }
}

async function lastErrorOf(db: Kysely<Schema>, receiver: string, at: number): Promise<string | null> {
  const row = await db
    .selectFrom('notification_outbox')
    .select('last_error')
    .where('receiver', '=', receiver)
    .where('last_at', '=', at)
    .where('last_error', 'is not', null)
    .limit(1)
    .executeTakeFirst()
  return row?.last_error ?? null
}
