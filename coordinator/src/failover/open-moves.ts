import { agentId, instanceId as asInstanceId, type InstanceId, incidentId } from '@understudy/shared/core/ids'
import { between, type Clock, instant, type Mono, millis, plus, seconds } from '@understudy/shared/core/time'
import type { OpenIncident, OpenMove, Trigger } from '@understudy/shared/failover/group'
import { lossSchema } from '@understudy/shared/protocol/incidents'
import type { Incidents } from '../fleet/fleet.ts'
import type { IncidentRow, Kysely, Schema, SwitchRow } from '../storage/database.ts'
import { certificateOf, type PromotedReplica } from './certificates.ts'
import { type Flight, newFlight } from './flight.ts'
import { readHandOver } from './hand-over-steps.ts'
import { causeOf } from './incident-names.ts'

/** A move by hand is given this long again. */
const PLANNED_AGAIN = seconds(60)

/** By agent: the move that was under way when an earlier coordinator ended, and what was measured of it. */
export type OpenMoves = ReadonlyMap<string, { readonly move: OpenMove; readonly flight: Flight }>

type OpenRecord = Awaited<ReturnType<Incidents['reopen']>>[number]

/** Takes up what was left open. An incident of which nobody can say how to go on is closed. */
export async function readOpenMoves(
  db: Kysely<Schema>,
  incidents: Incidents,
  clock: Clock,
): Promise<OpenMoves> {
  const moves = new Map<string, { move: OpenMove; flight: Flight }>()
  for (const record of await incidents.reopen()) {
    const open = await readOne(db, record, clock)
    if (open && !moves.has(record.row.agent_id)) moves.set(record.row.agent_id, open)
    else abandon(incidents, record.row)
  }
  return moves
}

async function readOne(
  db: Kysely<Schema>,
  { row, steps, zero }: OpenRecord,
  clock: Clock,
): Promise<{ move: OpenMove; flight: Flight } | undefined> {
  const agent = await db
    .selectFrom('agents')
    .select(['epoch', 'instance_id'])
    .where('id', '=', row.agent_id)
    .executeTakeFirstOrThrow()
  const switches = await db
    .selectFrom('instance_switches')
    .selectAll()
    .where('incident_id', '=', row.id)
    .orderBy('epoch', 'desc')
    .execute()
  const [last] = switches
  const given = switches.find(({ old_instance_id: from }) => from === row.instance_id)
  const at = whereItStood(row, last, agent)
  if (!at) return undefined
  const old = await db
    .selectFrom('instances')
    .select('retired')
    .where('id', '=', row.instance_id)
    .executeTakeFirst()
  const now = clock.mono()
  const trigger = row.trigger as Trigger
  const cause = causeOf((JSON.parse(row.seen_via) as { via: string }[])[0]?.via)
  // A move that no operator has asked for leaves no old primary behind.
  const isOurs = trigger === 'planned' && cause !== 'operator'
  const incident: OpenIncident = {
    id: incidentId(row.id),
    trigger,
    instance: asInstanceId(row.instance_id),
    by: deadlineOf(row, clock),
    keepOld: trigger !== 'notice' && !isOurs && row.keep_old !== 0 && old?.retired !== 1,
  }
  const { frozen, sealed, wroteOn } = readHandOver(steps, row.instance_id)
  const left = row.loss === null ? undefined : lossSchema.parse(JSON.parse(row.loss))
  const hasGivenUp = left !== undefined || (sealed && (!wroteOn || (await hasVotedFor(db, given))))
  const promoted = last && (await promotedBy(db, last))
  const flight: Flight = {
    // Who was taken for lost has not been heard since, or this is told as soon as it is.
    ...newFlight(incident, zero, row.old_epoch, trigger === 'silence' ? zero : now),
    cause,
    quietFrom: frozen && plus(zero, millis(frozen.t_ms)),
    sealedFor: hasGivenUp ? asId(given?.new_instance_id ?? row.new_instance_id) : undefined,
    left,
    heir: asId(last?.new_instance_id),
    target: asId(last?.new_instance_id),
    replicaId: promoted?.id,
    emergency: promoted?.incident_id === row.id,
  }
  return { move: { incident, at }, flight }
}

/** The old primary itself was for the change: it votes only when its successor has confirmed the state. */
async function hasVotedFor(db: Kysely<Schema>, change: SwitchRow | undefined): Promise<boolean> {
  const certificate = change && (await certificateOf(db, agentId(change.agent_id), change.epoch))
  return certificate?.votes.some(({ voter }) => voter === change?.old_instance_id) ?? false
}

/** The row that became that of the primary in the same transaction. */
const promotedBy = (db: Kysely<Schema>, change: SwitchRow): Promise<PromotedReplica | undefined> =>
  db
    .selectFrom('replica_instances')
    .select(['id', 'incident_id'])
    .where('instance_id', '=', change.new_instance_id)
    .where('promoted_at', '=', change.switched_at)
    .executeTakeFirst()

const asId = (id: string | null | undefined): InstanceId | undefined =>
  id == null ? undefined : asInstanceId(id)

/** undefined when the records do not fit together, as after a change by hand. */
function whereItStood(
  row: IncidentRow,
  last: SwitchRow | undefined,
  agent: { epoch: number; instance_id: string | null },
): OpenMove['at'] | undefined {
  if (!['notice', 'planned', 'drill', 'silence'].includes(row.trigger)) return undefined
  if (last)
    return last.new_instance_id === agent.instance_id
      ? { kind: 'promoting', fresh: last.switch_reason === 'relaunch' && last.epoch === agent.epoch }
      : undefined
  if (row.instance_id !== agent.instance_id) return undefined
  if (row.new_instance_id !== null) return { kind: 'handing-over', target: asInstanceId(row.new_instance_id) }
  return isAsked(row) ? undefined : { kind: 'waiting' }
}

/** Somebody wanted it, and nothing forces it. */
const isAsked = ({ trigger }: IncidentRow): boolean => trigger === 'planned' || trigger === 'drill'

function deadlineOf(row: IncidentRow, clock: Clock): Mono | undefined {
  const { deadline_at: deadline } = row
  if (isAsked(row)) return plus(clock.mono(), PLANNED_AGAIN)
  return deadline === null ? undefined : plus(clock.mono(), between(clock.now(), instant(deadline)))
}

function abandon(incidents: Incidents, row: IncidentRow): void {
  incidents.close(incidentId(row.id), {
    outcome: 'failed',
    why: 'the coordinator was restarted while it was open; the switch history says who is primary',
    action: 'none',
    replicaId: row.replica_id,
    newInstanceId: null,
    newEpoch: null,
    failoverMillis: null,
    noPrimaryMillis: null,
    noPrimaryFrom: null,
    loss: null,
  })
}
