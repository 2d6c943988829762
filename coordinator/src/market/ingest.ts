import { type Clock, type Instant, instant } from '@understudy/shared/core/time'
import { checkSample, type GivenSample, isRefusal, type Known } from '@understudy/shared/market/sample'
import { type Observation, type Snapshot, sampleConfidence, settle } from '@understudy/shared/market/settle'
import { insertRows } from '../storage/bulk.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { ensurePartitions } from '../storage/partitions.ts'
import type { GapStore } from './gap-store.ts'
import type { PoolStore } from './pool-store.ts'

/** What one instance has sent, of itself and of those whose samples it has taken over. */
export interface Submission {
  readonly submissionId: string
  readonly agentId: string
  readonly rows: readonly SubmittedRow[]
}

export interface SubmittedRow {
  readonly given: GivenSample
  /** Which instance took the sample, and as what. */
  readonly instanceId: string
  readonly role: 'primary' | 'replica'
  /** Why the row is not taken whatever its price is, such as an instance of another agent. */
  readonly refused?: { readonly code: string; readonly reason: string }
}

export interface IngestResult {
  /** New rows that were taken; whether each stands in the clean table is for the rules of shared/market/settle. */
  readonly accepted: number
  /** Rows that had come before. */
  readonly duplicates: number
  readonly refused: number
  /** One for each refused row. */
  readonly errors: readonly { readonly index: number; readonly code: string; readonly reason: string }[]
}

/** Rows of one transaction: bounds memory and how long others wait, however many rows a submission has. */
const CHUNK = 10_000

export interface IngestParts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly pools: PoolStore
  readonly gaps: GapStore
  readonly known: Omit<Known, 'now'>
  /** Writes of the market come one after another. */
  readonly inOrder: <T>(task: () => Promise<T>) => Promise<T>
}

/**
 * Takes samples: all of them go into the audit, the winner of each pool and bucket into the clean table. The same rows in
 * any order and any number of times leave the same clean table.
 */
export function createIngest(parts: IngestParts): (submission: Submission) => Promise<IngestResult> {
  return async (submission) => {
    const total = { accepted: 0, duplicates: 0, refused: 0, errors: [] as IngestResult['errors'][number][] }
    for (let start = 0; start < submission.rows.length; start += CHUNK) {
      const rows = submission.rows.slice(start, start + CHUNK)
      const checked = check(rows, submission.agentId, { ...parts.known, now: parts.clock.now() })
      const added = await parts.inOrder(() => write(parts, submission, checked))
      total.accepted += added
      total.duplicates += checked.accepted.length - added
      total.refused += checked.refused.length
      for (const { index, code, reason } of checked.refused)
        total.errors.push({ index: start + index, code, reason })
    }
    return total
  }
}

interface Checked {
  readonly accepted: readonly (Observation & { readonly given: string })[]
  readonly refused: readonly {
    readonly index: number
    readonly code: string
    readonly reason: string
    readonly row: SubmittedRow
  }[]
}

function check(rows: readonly SubmittedRow[], agentId: string, known: Known): Checked {
  const accepted: Checked['accepted'][number][] = []
  const refused: Checked['refused'][number][] = []
  for (const [index, row] of rows.entries()) {
    const sample = checkSample(row.given, known)
    const { refused: already } = row
    if (already) refused.push({ index, code: already.code, reason: already.reason, row })
    else if (isRefusal(sample)) refused.push({ index, code: sample.code, reason: sample.reason, row })
    else
      accepted.push({
        poolId: sample.poolId,
        sampledAt: sample.at,
        price: sample.price,
        confidence: sampleConfidence(row.role),
        instanceId: row.instanceId,
        agentId,
        given: textOf(row.given.price),
      })
  }
  return { accepted, refused }
}

async function write(parts: IngestParts, submission: Submission, checked: Checked): Promise<number> {
  const { db, pools, gaps } = parts
  const now = parts.clock.now()
  const audit = [
    ...checked.accepted.map((row) => acceptedRow(row, submission, now)),
    ...checked.refused.map((refusal) => refusedRow(refusal, submission, now)),
  ].sort(byPoolAndTime)
  const snapshots = await numbered(pools, checked.accepted)
  await ensurePartitions(db, 'pricing_submissions_raw', timesOf(audit, 'sampled_at'))
  await ensurePartitions(db, 'pricing_snapshots_clean', timesOf(snapshots, 'at'))
  return db.transaction().execute(async (trx) => {
    await addAudit(
      trx,
      audit.filter(({ verdict }) => verdict === 'refused'),
    )
    const added = await addAudit(
      trx,
      audit.filter(({ verdict }) => verdict === 'accepted'),
    )
    // Also when all of them had come before: what counted as a replica's then may be known to be the primary's now.
    if (snapshots.length === 0) return 0
    await settleInto(trx, snapshots)
    await gaps.arrived(trx, snapshots)
    return added
  })
}

type AuditRow = Readonly<Record<keyof typeof AUDIT, string | number | null>> & { readonly verdict: string }
type CleanRow = Readonly<Record<keyof typeof CLEAN, string | number>> & {
  readonly pool: number
  readonly at: number
}

const AUDIT = {
  submission_id: 'text',
  agent_id: 'text',
  instance_id: 'text',
  role: 'text',
  pool_id: 'text',
  sampled_at: 'bigint',
  price: 'bigint',
  given: 'text',
  verdict: 'text',
  reason: 'text',
  received_at: 'bigint',
} as const

const CLEAN = {
  pool: 'bigint',
  at: 'bigint',
  price: 'bigint',
  confidence: 'bigint',
  sampled_at: 'bigint',
  instance_id: 'text',
  agent_id: 'text',
} as const

function acceptedRow(row: Checked['accepted'][number], submission: Submission, now: Instant): AuditRow {
  return {
    submission_id: submission.submissionId,
    agent_id: submission.agentId,
    instance_id: row.instanceId,
    role: row.confidence === 100 ? 'primary' : 'replica',
    pool_id: row.poolId,
    sampled_at: row.sampledAt,
    price: row.price,
    given: row.given,
    verdict: 'accepted',
    reason: null,
    received_at: now,
  }
}

function refusedRow(refusal: Checked['refused'][number], submission: Submission, now: Instant): AuditRow {
  const { row, code } = refusal
  const at = row.given.at
  return {
    submission_id: submission.submissionId,
    agent_id: submission.agentId,
    instance_id: textOf(row.instanceId),
    role: row.role,
    pool_id: textOf(row.given.pool),
    sampled_at: 0,
    price: null,
    given: `${textOf(row.given.price)} at ${textOf(at)}`,
    verdict: 'refused',
    reason: code,
    received_at: now,
  }
}

async function numbered(pools: PoolStore, observations: readonly Observation[]): Promise<CleanRow[]> {
  const settled = settle(observations)
  const numbers = await pools.ensure(settled.keys())
  const rows: CleanRow[] = []
  for (const [poolId, buckets] of settled)
    for (const snapshot of buckets.values()) rows.push(cleanRow(numbers.get(poolId) as number, snapshot))
  return rows.sort((a, b) => a.pool - b.pool || a.at - b.at)
}

const cleanRow = (pool: number, snapshot: Snapshot): CleanRow => ({
  pool,
  at: snapshot.at,
  price: snapshot.price,
  confidence: snapshot.confidence,
  sampled_at: snapshot.sampledAt,
  instance_id: snapshot.instanceId,
  agent_id: snapshot.agentId,
})

/** Returns how many were new. */
const addAudit = (db: Kysely<Schema>, rows: readonly AuditRow[]): Promise<number> =>
  insertRows(
    db,
    { table: 'pricing_submissions_raw', columns: AUDIT, conflict: 'on conflict do nothing' },
    rows,
  )

/** The order of `outranks` in one comparison of rows: where less is better, the sides are swapped. */
const settleInto = (db: Kysely<Schema>, rows: readonly CleanRow[]): Promise<number> =>
  insertRows(db, { table: 'pricing_snapshots_clean', columns: CLEAN, conflict: OUTRANKS }, rows)

const OUTRANKS = `on conflict (pool, at) do update set
  price = excluded.price, confidence = excluded.confidence, sampled_at = excluded.sampled_at,
  instance_id = excluded.instance_id, agent_id = excluded.agent_id
  where (excluded.confidence, excluded.sampled_at, old.price, old.instance_id, old.agent_id)
    > (old.confidence, old.sampled_at, excluded.price, excluded.instance_id, excluded.agent_id)`

/** What was given, in a form that both databases keep: PostgreSQL takes no NUL in a text. */
function textOf(given: unknown): string {
  const text = typeof given === 'string' ? given : (JSON.stringify(given) ?? String(given))
  return text.slice(0, 100).replaceAll('\u0000', '\uFFFD').toWellFormed()
}

function byPoolAndTime(a: AuditRow, b: AuditRow): number {
  const time = (a.sampled_at as number) - (b.sampled_at as number)
  if (time !== 0) return time
  return (a.pool_id as string) < (b.pool_id as string) ? -1 : 1
}

function timesOf<K extends string>(rows: readonly Readonly<Record<K, unknown>>[], key: K): Set<Instant> {
  return new Set(rows.map((row) => instant(row[key] as number)))
}
