import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import {
  type AgentId,
  instanceId as asInstanceId,
  type IncidentId,
  type InstanceId,
  type ReplicaId,
} from '@understudy/shared/core/ids'
import { between, type Clock, millis, plus, seconds } from '@understudy/shared/core/time'
import { mayRemove } from '@understudy/shared/failover/group-removal'
import type { Order } from '@understudy/shared/failover/orders'
import type { ReplicaType, ReplicaView } from '@understudy/shared/protocol/agents'
import type { EmergencyReplicaRequest, EmergencyReplicaResponse } from '@understudy/shared/protocol/failover'
import type {
  CreateReplicaRequest,
  CreateReplicaResponse,
  SyncStatusRequest,
} from '@understudy/shared/protocol/replicas'
import type { Logger } from 'pino'
import type { Cloud } from '../cloud/cloud.ts'
import type { FleetStore } from '../fleet/fleet.ts'
import type { ReplicaRow } from '../storage/database.ts'
import type { Flight } from './flight.ts'
import type { Notes } from './incident-notes.ts'
import { type Entry, instanceOrNone, type Wanted } from './registry.ts'
import type { ReplicaStore } from './replica-store.ts'
import type { CreatedReplica, ReplicaRequest, Replicas } from './replicas.ts'
import type { Views } from './views.ts'

/** A replica that could not be made is tried again after this long; where it is urgent, whenever it is looked at. */
const WANTED_AGAIN = seconds(10)
/** A replica in the place of one that was promoted lets the moves of other agents go first, for so long. */
const AFTER_OTHERS = seconds(10)
const TERMINATE_TIMEOUT = 10_000
/** Who has made a replica that nobody asked for. */
const OURSELVES = 'understudy'

const NOT_ON_DEMAND = 'on_demand_fallback is off, so it is tried again'

const wantedBecause: Readonly<Record<Wanted['why'], string>> = {
  notice: 'a notice, and no replica was ready',
  replaced: 'the primary was replaced and has no standby',
  lost: 'the last standby was lost, or there was none when the primary was',
}

type Wish = Omit<ReplicaRequest, 'agentId' | 'pool' | 'excludeZones'>

/** The replicas of each agent: asked for by hand, by a notice or by a loss; given up; their progress. */
export interface Standbys {
  /** The row as it is kept at hand, which is newer than the one in the database. @throws AppError `not_found` */
  row(entry: Entry, id: ReplicaId): Promise<ReplicaRow>
  create(entry: Entry, body: CreateReplicaRequest, actor: string): Promise<CreateReplicaResponse>
  /** For a signal that somebody else has seen: the replica that is there, or a new one. */
  emergency(entry: Entry, body: EmergencyReplicaRequest, actor: string): Promise<EmergencyReplicaResponse>
  /** Ends a replica and its instance. @throws AppError `conflict`, `busy` */
  remove(entry: Entry, id: ReplicaId): Promise<ReplicaView>
  /** What a replica says of its progress over HTTP. @throws AppError `conflict`, `forbidden` */
  note(entry: Entry, id: ReplicaId, body: SyncStatusRequest, caller: string | undefined): Promise<ReplicaView>
  /** Those that count on: neither under notice nor lost. */
  usable(entry: Entry): readonly ReplicaRow[]
  /** One is being launched at this moment. */
  isMaking(entry: Entry): boolean
  /** A replica that counts on, made if there is none. */
  protect(
    entry: Entry,
    incident: IncidentId,
    why: string,
    primaryRisk: number,
  ): Promise<{ readonly row: ReplicaRow; readonly created: boolean }>
  /** One more, of our own accord. @throws AppError `no_capacity`, `conflict` */
  add(entry: Entry, type: ReplicaType, why: string): Promise<ReplicaRow>
  /** Ends one that is not needed any more. @throws AppError `conflict`, `busy` */
  release(entry: Entry, id: ReplicaId, why: string): Promise<void>
  /** Makes a replica now, or as soon as one can be made. */
  want(entry: Entry, why: Wanted['why']): void
  /** Makes the replica that is wanted, or says why not and leaves it for later. */
  tryWanted(entry: Entry): Promise<void>
  /** Goes on with launches that an earlier coordinator has begun. */
  finishLaunches(entry: Entry): Promise<void>
}

export function createStandbys(parts: {
  readonly fleet: FleetStore
  readonly store: ReplicaStore
  readonly replicas: Replicas
  readonly cloud: Cloud
  readonly views: Pick<Views, 'replica'>
  readonly note: Notes
  readonly clock: Clock
  readonly log: Logger
  /** False when the instance is not connected. */
  readonly sendOrder: (entry: Entry, instance: InstanceId, order: Order) => boolean
  /** Some agent is without a primary, or about to be. */
  readonly isMoving: () => boolean
  readonly onChange: (entry: Entry) => void
}): Standbys {
  const { fleet, store, replicas, cloud, views, note, clock, log, onChange } = parts

  /** Replicas that are being launched and in no book yet. */
  const underWay = new Map<AgentId, Promise<CreatedReplica>>()

  const rowOf = async (entry: Entry, id: ReplicaId): Promise<ReplicaRow> =>
    [...entry.replicas.values()].find((row) => row.id === id) ?? (await store.get(entry.agentId, id))

  const keep = (entry: Entry, row: ReplicaRow): void => {
    entry.replicas.set(row.instance_id ?? row.id, row)
    onChange(entry)
  }

  function usable(entry: Entry): readonly ReplicaRow[] {
    return [...entry.replicas.values()].filter((row) => {
      const member =
        row.instance_id === null ? undefined : entry.runner.group.members.get(asInstanceId(row.instance_id))
      return member === undefined || (member.noticedBy === undefined && !member.gone && !member.retired)
    })
  }

  async function make(entry: Entry, wish: Wish): Promise<CreatedReplica> {
    const { agentId } = entry
    const making = replicas.create({ agentId, pool: null, excludeZones: [], ...wish })
    underWay.set(agentId, making)
    try {
      const made = await making
      keep(entry, made.row)
      return made
    } finally {
      underWay.delete(agentId)
    }
  }

  /** One that is there, or is being made at this moment; undefined when there is none. */
  async function present(entry: Entry): Promise<ReplicaRow | undefined> {
    const making = underWay.get(entry.agentId)
    return making ? (await making).row : usable(entry)[0]
  }

  async function finishLaunches(entry: Entry): Promise<void> {
    if (!cloud.canLaunch) return
    for (const row of [...entry.replicas.values()]) {
      if (row.instance_id !== null || row.status !== 'launching') continue
      const launched = await replicas.finishLaunch(row).catch((error: unknown) => {
        log.warn({ event: 'replica.not_launched', replica: row.id, why: messageOf(error) })
      })
      entry.replicas.delete(row.id)
      if (launched) entry.replicas.set(launched.instance_id ?? launched.id, launched)
      else if (entry.runner.flight || row.type !== 'manual')
        entry.wanted ??= {
          why: entry.runner.flight ? 'notice' : 'lost',
          ...{ since: clock.mono(), tryAt: clock.mono() },
        }
    }
  }

  /** Whoever looks after what is wanted (housekeeping.ts) tries again. */
  const letsOthersGoFirst = ({ why, since }: Wanted): boolean =>
    why === 'replaced' && between(since, clock.mono()) < AFTER_OTHERS && parts.isMoving()

  const again = (entry: Entry) => (isUrgent(entry) ? clock.mono() : plus(clock.mono(), WANTED_AGAIN))

  /** In another spot pool; where none has capacity while an incident runs, on demand, if the agent may. */
  async function makeWanted(entry: Entry, why: Wanted['why'], mayBuy: boolean): Promise<ReplicaRow> {
    const incident = entry.runner.flight?.incident.id ?? null
    const wish: Wish = {
      ...{ type: 'automatic-termination', createdBy: OURSELVES, incident },
      reason: wantedBecause[why],
      primaryRisk: why === 'notice' ? 1 : undefined,
      isUrgent: isUrgent(entry),
    }
    const { row } = await make(entry, wish).catch((error: unknown) => {
      if (!entry.runner.flight || !isAppError(error, 'no_capacity')) throw error
      tellEmpty(entry.runner.flight, messageOf(error), mayBuy)
      if (!mayBuy) throw error
      return make(entry, { ...wish, lifeCycle: 'on-demand' })
    })
    if (incident !== null) note(incident, 'replica-launched', row.reason ?? row.pool_id)
    return row
  }

  /** Once for each incident: it is tried every few seconds. */
  function tellEmpty(flight: Flight, said: string, mayBuy: boolean): void {
    if (flight.toldEmpty) return
    flight.toldEmpty = true
    const next = mayBuy ? ': an instance on demand is started' : `; ${NOT_ON_DEMAND}`
    note(flight.incident.id, 'no-spot-capacity', `${said}${next}`, false)
  }

  async function tryWanted(entry: Entry): Promise<void> {
    const { wanted, runner, agentId } = entry
    if (!wanted || letsOthersGoFirst(wanted)) return
    entry.wanted = undefined
    try {
      const agent = await fleet.mustAgent(agentId)
      if (usable(entry).length > 0) return
      if (underWay.has(agentId)) {
        entry.wanted = { ...wanted, tryAt: again(entry) }
        return
      }
      if (agent.auto_replica_enabled !== 1 && runner.group.phase.kind !== 'relaunching')
        return void log.info({ event: 'replica.not_automatic', agent: agentId, why: wanted.why })
      const row = await makeWanted(entry, wanted.why, agent.on_demand_fallback === 1)
      // Once somebody is elected, the record is about that one; this is its own standby.
      if (runner.flight && runner.flight.heir === undefined) runner.flight.replicaId = row.id
    } catch (error) {
      const refusal = messageOf(error)
      // It is tried every few seconds, perhaps for days.
      if (refusal !== wanted.refusal) log.warn({ event: 'replica.not_created', agent: agentId, why: refusal })
      entry.wanted = { ...wanted, refusal, tryAt: again(entry) }
    }
  }

  /** Takes an instance out of its group and ends it; where that cannot be done now, housekeeping tries again. */
  async function end(entry: Entry, instance: InstanceId): Promise<void> {
    // Also where the database fails in between; not beside the call below.
    entry.dying.set(instance, plus(clock.mono(), millis(2 * TERMINATE_TIMEOUT)))
    entry.runner.dispatch({ kind: 'left', instance })
    entry.tokens.revoke(instance)
    entry.replicas.delete(instance)
    parts.sendOrder(entry, instance, { kind: 'fence', epoch: entry.runner.group.epoch })
    await fleet.patchInstance(instance, { retired: 1 })
    try {
      await cloud.terminate(instance, AbortSignal.timeout(TERMINATE_TIMEOUT))
    } catch (error) {
      log.warn({ event: 'instance.not_terminated', agent: entry.agentId, instance, why: messageOf(error) })
      return void entry.dying.set(instance, clock.mono())
    }
    await fleet.patchInstance(instance, { terminated_at: clock.now() })
    entry.dying.delete(instance)
  }

  async function remove(entry: Entry, row: ReplicaRow): Promise<ReplicaView> {
    if (row.is_active !== 1) {
      if (row.status !== 'promoted') return views.replica(entry, row)
      throw new AppError('conflict', `the replica ${row.id} was promoted: it is no standby any more`, {
        hint: 'To end a primary, promote another replica first.',
      })
    }
    const instance = instanceOrNone(row.instance_id)
    const needed = instance && mayRemove(entry.runner.group, instance, clock.mono())
    if (needed !== undefined)
      throw new AppError('busy', needed, {
        hint: 'Wait for the move to end, then look again.',
        retryable: true,
      })
    if (instance !== undefined) await end(entry, instance)
    entry.replicas.delete(row.id)
    await store.setStatus(row, 'terminated')
    onChange(entry)
    return views.replica(entry, await store.get(entry.agentId, row.id as ReplicaId))
  }

  return {
    row: rowOf,
    finishLaunches,
    tryWanted,
    async create(entry, body, actor) {
      const { row, choice, joinCommand } = await replicas.createByHand(entry.agentId, body, actor)
      // It may have joined meanwhile, and is known better then.
      if (!entry.replicas.has(row.instance_id ?? row.id)) keep(entry, row)
      return {
        replica: views.replica(entry, row),
        replica_id: row.id,
        choice: [...choice],
        join_command: joinCommand,
      }
    },
    async emergency(entry, body, actor) {
      const { group, flight } = entry.runner
      const { primary } = group
      if (primary === undefined)
        throw new AppError(
          'not_ready',
          `${entry.agentId} has no primary yet, so there is nothing to replicate`,
        )
      if (body.instance_id !== undefined && body.instance_id !== primary)
        throw new AppError('conflict', `${body.instance_id} is not the primary of ${entry.agentId}`, {
          hint: `The primary is ${primary}.`,
          facts: { primary, epoch: group.epoch },
        })
      const existing = await present(entry)
      if (existing)
        return {
          replica: views.replica(entry, existing),
          replica_id: existing.id,
          created: false,
          choice: [],
        }
      const type = body.signal_type === 'termination-notice' ? 'automatic-termination' : 'automatic-rebalance'
      const { row, choice } = await make(entry, {
        ...{ type, createdBy: actor, incident: flight?.incident.id ?? null },
        reason: body.reason ?? `${actor} has seen a signal`,
        primaryRisk: 1,
      })
      return { replica: views.replica(entry, row), replica_id: row.id, created: true, choice: [...choice] }
    },
    remove: async (entry, id) => remove(entry, await rowOf(entry, id)),
    async note(entry, id, body, caller) {
      const row = await rowOf(entry, id)
      if (row.is_active !== 1)
        throw new AppError(
          'conflict',
          `the replica ${id} is ${row.status}: its progress is of no interest any more`,
        )
      if (caller !== undefined && row.instance_id !== null && caller !== row.instance_id)
        throw new AppError('forbidden', `${caller} is not the instance of the replica ${id}`)
      const { status, message, ...said } = body
      const progress = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined))
      await store.setProgress(id, progress)
      // Whether it is ready is for the stream itself to say: the primary has to vouch for it.
      if (status !== 'failed') {
        const next = { ...row, ...progress }
        keep(entry, next)
        return views.replica(entry, next)
      }
      await store.setStatus(row, 'failed', message ?? 'the replica says that it has failed')
      entry.replicas.delete(row.instance_id ?? row.id)
      onChange(entry)
      return views.replica(entry, await store.get(entry.agentId, id))
    },
    usable,
    isMaking: ({ agentId }) => underWay.has(agentId),
    async protect(entry, incident, reason, primaryRisk) {
      const existing = await present(entry)
      if (existing) return { row: existing, created: false }
      const wish = {
        type: 'automatic-rebalance',
        createdBy: OURSELVES,
        incident,
        reason,
        primaryRisk,
      } as const
      return { row: (await make(entry, wish)).row, created: true }
    },
    add: async (entry, type, reason) =>
      (await make(entry, { type, createdBy: OURSELVES, incident: null, reason })).row,
    async release(entry, id, why) {
      const row = await rowOf(entry, id)
      await store.setReason(id, `let go: ${why}`)
      await remove(entry, row)
    },
    want(entry, why) {
      entry.wanted = { why, since: clock.mono(), tryAt: clock.mono() }
      tryWanted(entry).catch((error: unknown) => log.error({ event: 'replica.wanted_failed', err: error }))
    },
  }
}

/** Nobody serves, or AWS is about to see to that. */
const isUrgent = ({ runner: { group, flight } }: Entry): boolean =>
  flight !== undefined || group.phase.kind === 'relaunching'
