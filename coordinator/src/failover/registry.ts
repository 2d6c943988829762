import { AppError } from '@understudy/shared/core/app-error'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { agentId as asAgentId, instanceId as asInstanceId } from '@understudy/shared/core/ids'
import { type Clock, type Instant, type Mono, plus } from '@understudy/shared/core/time'
import type { Certificate } from '@understudy/shared/failover/certificate'
import { type OpenMove, restoreGroup } from '@understudy/shared/failover/group'
import type { LeasePolicy } from '@understudy/shared/failover/lease'
import type { FleetStore } from '../fleet/fleet.ts'
import type { Voting } from '../identity/identity.ts'
import type { AgentRow, InstanceRow, ReplicaRow } from '../storage/database.ts'
import { lastCertificates, writeOutdated } from './certificates.ts'
import type { LastWord } from './flight.ts'
import { createGroupRunner, type GroupRunner, type Resumed, type RunnerPorts } from './group-runner.ts'
import { createHeardCertificates, type HeardCertificates, KEPT } from './heard-certificates.ts'
import { heardBefore } from './last-heard.ts'
import { AFTER_DEADLINE, leftToEnd } from './left-to-end.ts'
import type { OpenMoves } from './open-moves.ts'
import type { ReplicaStore } from './replica-store.ts'
import { membersOf, type StoredMember } from './stored-members.ts'
import { isStandbyMissing, sortActive } from './stored-replicas.ts'
import { formerPrimaries, listSwitches } from './switches.ts'
import { untilWritten } from './until-written.ts'
import { createPairTokens, type PairTokens } from './upstreams.ts'

/** Everything that the coordinator keeps in memory about one agent. */
export interface Entry {
  readonly agentId: AgentId
  readonly runner: GroupRunner
  readonly tokens: PairTokens
  /** Which certificates and votes of its members are believed. */
  readonly heard: HeardCertificates
  /** Agents of before there were certificates: who had the state, and is to have the first one. */
  predecessor: Predecessor | undefined
  /** Standbys that count, by the instance that they are on; those without an instance yet are under their own id. */
  readonly replicas: Map<string, ReplicaRow>
  /** What the primary last said of each replica. */
  readonly lastWords: Map<InstanceId, LastWord>
  /** Instances that are to be ended, and from when on. */
  readonly dying: Map<InstanceId, Mono>
  /** The primary's instance, while a notice may follow a rebalance recommendation for it. */
  atRisk: InstanceId | undefined
  /** An instance with a planned maintenance event. */
  inMaintenance: InstanceId | undefined
  /** A replica is wanted and could not be made yet. */
  wanted: Wanted | undefined
  shown: { state: string; since: Instant }
}

/** Until it has connected, or has ended, the greetings of others wait: one of them would get the epoch else. */
export interface Predecessor {
  readonly instance: InstanceId
  readonly waiting: (() => void)[]
}

export interface Wanted {
  readonly why: 'notice' | 'replaced' | 'lost'
  readonly since: Mono
  readonly tryAt: Mono
  /** Why the last try made none. */
  readonly refusal?: string
}

export interface Registry {
  load(moves: OpenMoves): Promise<void>
  entries(): Iterable<Entry>
  find(agentId: AgentId): Entry | undefined
  /** @throws AppError `not_found` */
  get(agentId: AgentId): Entry
  /** This database is older than what members remember (`start`): nothing is voted on before they have told it. */
  outdated(start: number): void
  /** The entry of an agent that may be new. */
  ensure(agentId: AgentId): Entry
}

export function createRegistry(parts: {
  readonly fleet: FleetStore
  readonly replicas: ReplicaStore
  readonly clock: Clock
  readonly policy: LeasePolicy
  readonly ports: RunnerPorts
  readonly voting: Voting
  readonly signal: AbortSignal
}): Registry {
  const { fleet, replicas, clock, policy, ports, voting, signal } = parts
  const entries = new Map<AgentId, Entry>()

  function add(
    agentId: AgentId,
    stored: {
      certificate: Certificate | undefined
      base?: Certificate | undefined
      voted: { epoch: number; primary: InstanceId | undefined }
      members: readonly StoredMember[]
      move?: OpenMove | undefined
    },
    resumed?: Resumed,
  ): Entry {
    const group = restoreGroup({ agent: agentId, policy, key: voting.publicKey, ...stored }, clock.mono())
    const entry: Entry = {
      agentId,
      runner: createGroupRunner(group, ports, signal, resumed),
      tokens: createPairTokens(),
      heard: createHeardCertificates(voting.publicKey),
      predecessor: undefined,
      replicas: new Map(),
      lastWords: new Map(),
      dying: new Map(),
      atRisk: undefined,
      inMaintenance: undefined,
      wanted: undefined,
      shown: { state: '', since: clock.now() },
    }
    entries.set(agentId, entry)
    return entry
  }

  async function restore(
    row: AgentRow,
    instances: readonly InstanceRow[],
    open: ReturnType<OpenMoves['get']>,
  ): Promise<void> {
    const agentId = asAgentId(row.id)
    const last = await lastCertificates(ports.db, agentId, KEPT)
    const certificate = last.findLast(({ proposal }) => proposal.epoch === row.epoch)
    const base = last.find(({ digest }) => digest === certificate?.proposal.previous.digest)
    const members = membersOf(row.id, instances, certificate, clock)
    const voted = { epoch: row.voted_epoch, primary: instanceOrNone(row.voted_for) }
    const primary = instanceOrNone(row.instance_id)
    const heard = heardBefore(primary, row.last_heartbeat_at, clock)
    const stored = { certificate, base, voted, members, move: open?.move }
    const entry = add(agentId, stored, { flight: open?.flight, heard })
    entry.heard.remember(last)
    for (const { instance, gone } of members) if (gone) entry.runner.dispatch({ kind: 'left', instance })
    if (!certificate && primary !== undefined && members.some(({ instance }) => instance === primary))
      entry.predecessor = { instance: primary, waiting: [] }
    if (row.outdated === 1) entry.runner.dispatch({ kind: 'outdated', voted: row.voted_epoch })
    await restoreStandbys(entry, row, instances, open?.move)
  }

  /** Which standbys there are, whether one is wanted, and whose instances are to be ended. */
  async function restoreStandbys(
    entry: Entry,
    row: AgentRow,
    instances: readonly InstanceRow[],
    move: OpenMove | undefined,
  ): Promise<void> {
    const wanted = { since: clock.mono(), tryAt: clock.mono() }
    if (move?.at.kind === 'waiting' && move.incident.trigger === 'notice')
      entry.wanted = { why: 'notice', ...wanted }
    const [lastMove] = await listSwitches(ports.db, { agentId: entry.agentId, limit: 1 })
    const former = await formerPrimaries(ports.db, entry.agentId)
    for (const instance of leftToEnd(row, instances, lastMove, former))
      entry.dying.set(instance, plus(clock.mono(), AFTER_DEADLINE))
    const { counting, superfluous } = sortActive(await replicas.active(entry.agentId), row.instance_id)
    for (const replica of superfluous) await replicas.setStatus(replica, 'terminated')
    for (const replica of counting) entry.replicas.set(replica.instance_id ?? replica.id, unheardOf(replica))
    // One with a notice is replaced while it is still there.
    const isLeaving = ({ instance_id: id }: ReplicaRow): boolean =>
      instances.some((instance) => instance.id === id && instance.notice_at !== null)
    if (counting.length > 0 && counting.every(isLeaving) && row.auto_replica_enabled === 1)
      entry.wanted ??= { why: 'lost', ...wanted }
    if (counting.length === 0 && isStandbyMissing(row, instances, (await replicas.list(entry.agentId))[0]))
      entry.wanted ??= { why: 'replaced', ...wanted }
  }

  return {
    outdated(start) {
      const lost = voting.leaveBehind(start)
      const groups = [...entries.values()]
      const raised = new Map(
        groups.map(({ agentId, runner }) => [agentId, runner.group.voted.epoch + lost] as const),
      )
      // Votes that are on their way come before, and that everybody has told what it knows comes after.
      const written = Promise.withResolvers<void>()
      const { start: now } = voting
      const onFailure = (error: unknown) =>
        ports.log.error({ event: 'failover.not_written', what: 'outdated', err: error })
      Promise.all(groups.map(({ runner }) => runner.pauseVotes(written.promise)))
        .then(() => untilWritten(() => writeOutdated(ports.db, now, raised), { clock, signal, onFailure }))
        .then(written.resolve, written.reject)
      written.promise.catch((error: unknown) => {
        if (!signal.aborted) ports.log.error({ event: 'group.effect_failed', what: 'outdated', err: error })
      })
      for (const { agentId, runner } of groups)
        runner.dispatch({ kind: 'outdated', voted: raised.get(agentId) ?? 0 })
    },
    async load(moves) {
      const instances = await fleet.instances()
      for (const row of await fleet.agents()) await restore(row, instances, moves.get(row.id))
    },
    entries: () => entries.values(),
    find: (agentId) => entries.get(agentId),
    get(agentId) {
      const entry = entries.get(agentId)
      if (entry) return entry
      throw new AppError('not_found', `there is no agent ${agentId}`, {
        hint: 'GET /api/agents lists them. A new one comes with `coordinator token join --agent <id>`.',
      })
    },
    ensure: (agentId) =>
      entries.get(agentId) ??
      add(agentId, { certificate: undefined, voted: { epoch: 0, primary: undefined }, members: [] }),
  }
}

export const instanceOrNone = (id: string | null): InstanceId | undefined =>
  id === null ? undefined : asInstanceId(id)

/** Nobody is ready before it has connected to this process and the primary has vouched for it. */
const unheardOf = (replica: ReplicaRow): ReplicaRow =>
  replica.status === 'ready' ? { ...replica, status: 'syncing' } : replica
