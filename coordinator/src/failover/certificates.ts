import { randomUUID } from 'node:crypto'
import type { AgentId, IncidentId, InstanceId } from '@understudy/shared/core/ids'
import { instanceId as asInstanceId } from '@understudy/shared/core/ids'
import type { MicroUsd } from '@understudy/shared/core/money'
import type { Clock } from '@understudy/shared/core/time'
import {
  type Certificate,
  type ChangeKind,
  kindOfChange,
  type Proposal,
} from '@understudy/shared/failover/certificate'
import type { Trigger } from '@understudy/shared/failover/group'
import type { SwitchView } from '@understudy/shared/protocol/incidents'
import { certificateSchema } from '@understudy/shared/protocol/voter-messages'
import { raiseStart } from '../identity/identity.ts'
import type { Kysely, ReplicaRow, Schema, Transaction } from '../storage/database.ts'
import type { GroupCommit } from '../storage/group-commit.ts'
import type { MoveCause } from './incident-names.ts'

/** A certificate, and what the record of a change of primary says beside it. */
export interface CertifiedChange {
  readonly certificate: Certificate
  readonly incident: IncidentId | null
  readonly trigger: Trigger | null
  /** Who has asked for it; null where nobody did. */
  readonly cause: MoveCause | null
  readonly fresh: boolean
  /** The old primary is given nothing to do any more. */
  readonly retirePrevious: boolean
  readonly priceOf: (instance: InstanceId) => MicroUsd | null
}

export interface OwnVote {
  readonly proposal: Proposal
  readonly digest: string
  /** The certificate that this vote completes, written in the same transaction. */
  readonly completes: CertifiedChange | undefined
}

/** The replica that became primary; null where none did, or it was none of ours. */
export type PromotedReplica = Pick<ReplicaRow, 'id' | 'incident_id'>

export type VoteOutcome =
  | { readonly kind: 'cast'; readonly replica: PromotedReplica | null }
  /** Another vote has been given in this epoch, or one in a later epoch; nothing was written. */
  | { readonly kind: 'spent'; readonly epoch: number }
  | Conflict

export type RecordOutcome =
  /** It is the newest now. */
  | { readonly kind: 'newest'; readonly replica: PromotedReplica | null }
  /** A later one was here before. */
  | { readonly kind: 'older' }
  | { readonly kind: 'known' }
  | Conflict

/** Two certificates of one epoch: the one thing that must never be. Nothing was written. */
export interface Conflict {
  readonly kind: 'conflict'
  readonly epoch: number
  readonly known: string
}

/**
 * Writes our vote before anybody hears of it: one in each epoch, never one in an earlier epoch than before. The same
 * vote again changes nothing, so that whoever does not know whether it was written may write it again.
 */
export function castVote(commit: GroupCommit, clock: Clock, vote: OwnVote): Promise<VoteOutcome> {
  const { proposal, digest, completes } = vote
  const { agent, epoch, primary } = proposal
  return undoOnConflict(
    commit.now(async (tx): Promise<VoteOutcome> => {
      const { numUpdatedRows } = await tx
        .updateTable('agents')
        .set({ voted_epoch: epoch, voted_for: primary, voted_digest: digest })
        .where('id', '=', agent)
        .where('voted_epoch', '<', epoch)
        .executeTakeFirst()
      if (numUpdatedRows !== 1n) {
        const row = await tx
          .selectFrom('agents')
          .select(['voted_epoch', 'voted_digest'])
          .where('id', '=', agent)
          .executeTakeFirstOrThrow()
        if (row.voted_epoch !== epoch || row.voted_digest !== digest)
          return { kind: 'spent', epoch: row.voted_epoch }
      }
      if (!completes) return { kind: 'cast', replica: null }
      const outcome = await write(tx, clock, completes)
      if (outcome.kind === 'conflict') throw new ConflictError(outcome)
      return { kind: 'cast', replica: outcome.kind === 'newest' ? outcome.replica : null }
    }),
  )
}

/** Writes a certificate that others have made, once, whoever brings it again. */
export function recordCertificate(
  commit: GroupCommit,
  clock: Clock,
  change: CertifiedChange,
): Promise<RecordOutcome> {
  return commit.now((tx) => write(tx, clock, change))
}

class ConflictError extends Error {
  readonly conflict: Conflict
  constructor(conflict: Conflict) {
    super('two certificates of one epoch')
    this.conflict = conflict
  }
}

/** Thrown to undo the write; to the caller it is an outcome like the others. */
const undoOnConflict = (outcome: Promise<VoteOutcome>): Promise<VoteOutcome> =>
  outcome.catch((error: unknown) => {
    if (error instanceof ConflictError) return error.conflict
    throw error
  })

async function write(tx: Transaction<Schema>, clock: Clock, change: CertifiedChange): Promise<RecordOutcome> {
  const { certificate } = change
  const { agent, epoch, primary, successor, term } = certificate.proposal
  const now = clock.now()
  if (!(await insert(tx, certificate, now))) {
    const { digest } = await tx
      .selectFrom('epoch_certificates')
      .select('digest')
      .where('agent_id', '=', agent)
      .where('epoch', '=', epoch)
      .executeTakeFirstOrThrow()
    return digest === certificate.digest ? { kind: 'known' } : { kind: 'conflict', epoch, known: digest }
  }
  const before = await tx
    .selectFrom('agents')
    .select(['epoch', 'instance_id', 'voted_epoch'])
    .where('id', '=', agent)
    .executeTakeFirstOrThrow()
  if (epoch <= before.epoch) return { kind: 'older' }
  const previous = before.instance_id === null ? undefined : asInstanceId(before.instance_id)
  const moves = previous !== undefined && previous !== primary
  await tx
    .updateTable('agents')
    .set({
      epoch,
      term,
      instance_id: primary,
      successor_id: successor,
      ...(before.voted_epoch < epoch
        ? { voted_epoch: epoch, voted_for: primary, voted_digest: certificate.digest }
        : {}),
      ...(moves ? { last_failover_at: now } : {}),
    })
    .where('id', '=', agent)
    .execute()
  // A change of successor changes nothing of who is primary.
  if (term !== epoch) return { kind: 'newest', replica: null }
  return { kind: 'newest', replica: await takeOffice(tx, change, moves ? previous : undefined, now) }
}

/** False when there is one of this epoch. */
async function insert(tx: Transaction<Schema>, certificate: Certificate, now: number): Promise<boolean> {
  const { proposal, digest } = certificate
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('epoch_certificates')
    .values({
      agent_id: proposal.agent,
      epoch: proposal.epoch,
      digest,
      previous_digest: proposal.previous.digest,
      kind: await kindOf(tx, proposal),
      primary_id: proposal.primary,
      successor_id: proposal.successor,
      forced: Number(proposal.forced),
      certificate: JSON.stringify(certificate),
      recorded_at: now,
    })
    .onConflict((conflict) => conflict.columns(['agent_id', 'epoch']).doNothing())
    .executeTakeFirst()
  return numInsertedOrUpdatedRows === 1n
}

async function kindOf(tx: Transaction<Schema>, proposal: Proposal): Promise<ChangeKind | 'unknown'> {
  const { agent, previous } = proposal
  const base = previous.epoch === 0 ? undefined : await certificateOf(tx, agent, previous.epoch)
  return kindOfChange(proposal, base) ?? 'unknown'
}

/** The certificate of an epoch; undefined when it never came here. */
export async function certificateOf(
  db: Kysely<Schema>,
  agent: AgentId,
  epoch: number,
): Promise<Certificate | undefined> {
  const row = await db
    .selectFrom('epoch_certificates')
    .select('certificate')
    .where('agent_id', '=', agent)
    .where('epoch', '=', epoch)
    .executeTakeFirst()
  return row && certificateSchema.parse(JSON.parse(row.certificate))
}

/** The last ones of an agent, the newest at the end. */
export async function lastCertificates(
  db: Kysely<Schema>,
  agent: AgentId,
  limit: number,
): Promise<readonly Certificate[]> {
  const rows = await db
    .selectFrom('epoch_certificates')
    .select('certificate')
    .where('agent_id', '=', agent)
    .orderBy('epoch', 'desc')
    .limit(limit)
    .execute()
  return rows.map(({ certificate }) => certificateSchema.parse(JSON.parse(certificate))).toReversed()
}

/** Everything that says who is primary, and the record of the switch, once per epoch. */
async function takeOffice(
  tx: Transaction<Schema>,
  change: CertifiedChange,
  previous: InstanceId | undefined,
  now: number,
): Promise<PromotedReplica | null> {
  const { agent, primary } = change.certificate.proposal
  await tx
    .updateTable('instances')
    .set({ is_active: 1, retired: 0, has_copy: 1 })
    .where('id', '=', primary)
    .execute()
  if (previous === undefined) return null
  await tx
    .updateTable('instances')
    .set({ is_active: 0, retired: Number(change.retirePrevious) })
    .where('id', '=', previous)
    .execute()
  const replica = await markPromoted(tx, agent, primary, now)
  await recordSwitch(tx, change, previous, now)
  return replica
}

/** No row of the new primary is left as that of a standby; the newest is the one that was promoted. */
async function markPromoted(
  tx: Transaction<Schema>,
  agent: AgentId,
  primary: InstanceId,
  now: number,
): Promise<PromotedReplica | null> {
  const replica = await tx
    .selectFrom('replica_instances')
    .select(['id', 'incident_id'])
    .where('instance_id', '=', primary)
    .where('is_active', '=', 1)
    .orderBy('created_at', 'desc')
    .executeTakeFirst()
  if (!replica) return null
  await tx
    .updateTable('replica_instances')
    .set({ status: 'promoted', promoted_at: now, is_active: 0 })
    .where('instance_id', '=', primary)
    .where('is_active', '=', 1)
    .execute()
  await countReplicas(tx, agent)
  return replica
}

async function recordSwitch(
  tx: Transaction<Schema>,
  change: CertifiedChange,
  previous: InstanceId,
  now: number,
): Promise<void> {
  const { agent, epoch, primary } = change.certificate.proposal
  const pools = await tx
    .selectFrom('instances')
    .select(['id', 'pool_id'])
    .where('id', 'in', [previous, primary])
    .execute()
  const poolOf = (id: string) => pools.find((row) => row.id === id)?.pool_id ?? 'unknown'
  await tx
    .insertInto('instance_switches')
    .values({
      id: randomUUID(),
      agent_id: agent,
      epoch,
      incident_id: change.incident,
      switch_reason: reasonOf(change, previous),
      old_instance_id: previous,
      new_instance_id: primary,
      old_pool_id: poolOf(previous),
      new_pool_id: poolOf(primary),
      old_instance_price: change.priceOf(previous),
      new_instance_price: change.priceOf(primary),
      success: null,
      switched_at: now,
    })
    .execute()
}

const plannedReasons: Readonly<Record<MoveCause, SwitchView['switch_reason']>> = {
  operator: 'manual',
  decision: 'automatic-switch',
  rebalance: 'automatic-rebalance',
  'return-to-spot': 'automatic-switch',
}

function reasonOf(
  { trigger, cause, fresh, certificate }: CertifiedChange,
  previous: InstanceId,
): SwitchView['switch_reason'] {
  if (fresh) return 'relaunch'
  if (trigger === 'drill') return 'drill'
  if (trigger === 'planned') return plannedReasons[cause ?? 'operator']
  // It gave the epoch up itself, also where nobody was there who could have told it to.
  const gaveUp = certificate.votes.some(({ voter }) => voter === previous)
  return trigger === 'notice' || gaveUp ? 'automatic-interruption-failover' : 'automatic-loss-failover'
}

/**
 * This database has lost votes of ours: `raised` says, by agent, from which epoch on there are none. All of it or nothing:
 * a start that was counted without the rest would hide that the rest is missing.
 */
export function writeOutdated(
  db: Kysely<Schema>,
  start: number,
  raised: ReadonlyMap<AgentId, number>,
): Promise<void> {
  return db.transaction().execute(async (tx) => {
    await raiseStart(tx, start)
    for (const [agent, epoch] of raised) {
      await tx.updateTable('agents').set({ outdated: 1 }).where('id', '=', agent).execute()
      await tx
        .updateTable('agents')
        .set({ voted_epoch: epoch, voted_for: null, voted_digest: null })
        .where('id', '=', agent)
        .where('voted_epoch', '<', epoch)
        .execute()
    }
  })
}

/** `agents.replica_count` follows the rows. */
export async function countReplicas(tx: Kysely<Schema>, agentId: string): Promise<void> {
  const { count } = await tx
    .selectFrom('replica_instances')
    .select((e) => e.fn.countAll<number>().as('count'))
    .where('agent_id', '=', agentId)
    .where('is_active', '=', 1)
    .executeTakeFirstOrThrow()
  await tx
    .updateTable('agents')
    .set({ replica_count: Number(count) })
    .where('id', '=', agentId)
    .execute()
}
