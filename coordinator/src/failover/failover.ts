import {
  type AgentId,
  agentId as asAgentId,
  type IncidentId,
  type InstanceId,
  type ReplicaId,
} from '@understudy/shared/core/ids'
import { runServices, type Service } from '@understudy/shared/core/service'
import { type Clock, type Millis, seconds } from '@understudy/shared/core/time'
import type { LeasePolicy } from '@understudy/shared/failover/lease'
import type { VoterMessage } from '@understudy/shared/failover/voter'
import type { AgentView, EpochView, ReplicaView } from '@understudy/shared/protocol/agents'
import type {
  EmergencyReplicaRequest,
  EmergencyReplicaResponse,
  FailoverResponse,
  InstanceGoneResponse,
  RebalanceRequest,
  RebalanceResponse,
  TerminationImminentRequest,
} from '@understudy/shared/protocol/failover'
import type { SwitchView } from '@understudy/shared/protocol/incidents'
import type { CoordinatorMessage } from '@understudy/shared/protocol/link'
import type {
  CreateReplicaRequest,
  CreateReplicaResponse,
  PromoteRequest,
  PromotionPlan,
  SyncStatusRequest,
} from '@understudy/shared/protocol/replicas'
import type { Logger } from 'pino'
import type { Address, Cloud, PoolOffer } from '../cloud/cloud.ts'
import type { FleetStore, Incidents } from '../fleet/fleet.ts'
import type { Voting } from '../identity/identity.ts'
import type { Interruptions } from '../interruptions/interruptions.ts'
import type { Kysely, Position, Schema } from '../storage/database.ts'
import type { GroupCommit } from '../storage/group-commit.ts'
import { type Arrivals, createArrivals } from './arrivals.ts'
import { createDepartures } from './departures.ts'
import { listEpochs } from './epochs.ts'
import type { RunnerPorts } from './group-runner.ts'
import { createHousekeeping } from './housekeeping.ts'
import { createNotes } from './incident-notes.ts'
import { createLateLaunches } from './late-launches.ts'
import { createLinkEvents, type LinkEvents } from './link-events.ts'
import { createMoveTurns } from './move-turns.ts'
import { createMoves, type MoveBy } from './moves.ts'
import { createOffers } from './offers.ts'
import { createOldPrimaries } from './old-primaries.ts'
import { readOpenMoves } from './open-moves.ts'
import { createPolicies } from './policies/policies.ts'
import { createStandbyRisks } from './policies/standby-risks.ts'
import { createPresenceBook } from './presence.ts'
import { createRegistry, type Entry } from './registry.ts'
import { createReplicaStore } from './replica-store.ts'
import { createReplicas } from './replicas.ts'
import { createSignalCalls } from './signal-calls.ts'
import { createSignals } from './signals.ts'
import { createStandbys } from './standbys.ts'
import { countVoluntary, listSwitches } from './switches.ts'
import { createViews } from './views.ts'
import { createVoterEvents, type VoterEvents } from './voter-events.ts'

/** How long a call waits for the move that it started. */
const WAIT = seconds(25)

/** Who is primary, and everything that follows from it. The front door of this domain. */
export interface Failover extends Service {
  readonly links: Pick<LinkEvents, 'onHello' | 'onHeartbeat' | 'onReport' | 'onDisconnected'>
  readonly voters: Pick<VoterEvents, 'onVoterOpen' | 'onVoterMessage'> & Pick<LinkEvents, 'onVoterClosed'>
  /** Reads the database; before anything else. */
  load(): Promise<void>
  onEnrolled: Arrivals['onEnrolled']
  /** An agent that was just made. */
  onNewAgent(agentId: AgentId): void
  agent(agentId: AgentId): Promise<AgentView>
  agents(): Promise<readonly AgentView[]>
  /** The instance that has the epoch now. */
  primaryOf(agentId: AgentId): InstanceId | undefined
  replicas(agentId: AgentId): Promise<readonly ReplicaView[]>
  createReplica(agentId: AgentId, body: CreateReplicaRequest, actor: string): Promise<CreateReplicaResponse>
  emergencyReplica(
    agentId: AgentId,
    body: EmergencyReplicaRequest,
    actor: string,
  ): Promise<EmergencyReplicaResponse>
  deleteReplica(agentId: AgentId, id: ReplicaId): Promise<ReplicaView>
  syncStatus(
    agentId: AgentId,
    id: ReplicaId,
    body: SyncStatusRequest,
    caller: string | undefined,
  ): Promise<ReplicaView>
  plan(agentId: AgentId, id: ReplicaId): Promise<PromotionPlan>
  promote(agentId: AgentId, id: ReplicaId, body: PromoteRequest, by?: MoveBy): Promise<FailoverResponse>
  /** Begins a rehearsal and returns its incident. @throws AppError `stale_epoch`, `not_ready`, `busy`, `not_found` */
  drill(agentId: AgentId, id: ReplicaId, expectedEpoch: number): Promise<IncidentId>
  /** Resolves when the incident has ended, or the time is up. */
  outcome(agentId: AgentId, incident: IncidentId, signal: AbortSignal): Promise<void>
  terminationImminent(agentId: AgentId, body: TerminationImminentRequest): Promise<FailoverResponse>
  rebalance(agentId: AgentId, body: RebalanceRequest): Promise<RebalanceResponse>
  /** An operator has seen that an instance has ended. */
  instanceGone(agentId: AgentId, instance: InstanceId): Promise<InstanceGoneResponse>
  /** Certificates of an agent, the newest first, of epochs below `before`. */
  epochs(agentId: AgentId, limit: number, before: number | undefined): Promise<readonly EpochView[]>
  switches(filter: {
    agentId?: AgentId
    limit: number
    before?: Position | undefined
  }): Promise<readonly SwitchView[]>
  /** Pools as the cloud offered them last. */
  offers(): readonly PoolOffer[]
}

export interface FailoverOptions {
  readonly db: Kysely<Schema>
  /** For what follows from a move; everything else is written on its own. */
  readonly commit: GroupCommit
  readonly fleet: FleetStore
  readonly incidents: Incidents
  readonly interruptions: Interruptions
  readonly cloud: Cloud
  readonly address: Address
  readonly clock: Clock
  readonly log: Logger
  readonly policy: LeasePolicy
  readonly coordinatorUrl: string
  /** HEARTBEAT_TIMEOUT: when an agent is shown as offline. */
  readonly offlineAfter: Millis
  /** How long a replica that was made because of a risk is kept when the risk is over. */
  readonly replicaCooldown: Millis
  /** How long a pool that refused a launch is passed over. */
  readonly emptyPoolFor: Millis
  /** After notices with time to spare no more moves than these are begun. */
  readonly movesAtOnce: number
  readonly createJoinToken: (agentId: AgentId, replicaId: ReplicaId) => Promise<string>
  readonly voting: Voting
  readonly send: (instance: InstanceId, message: CoordinatorMessage) => boolean
  /** To the voter of an instance; lost when it is not connected. */
  readonly tell: (instance: InstanceId, message: VoterMessage) => void
  readonly onChange: (agentId: AgentId) => void
  readonly signal: AbortSignal
}

export function createFailover(options: FailoverOptions): Failover {
  const { db, fleet, incidents, cloud, clock, log, voting, send, tell, onChange } = options
  const store = createReplicaStore(db, clock)
  const offers = createOffers(cloud, clock, log, options.emptyPoolFor)
  const presence = createPresenceBook(clock)

  const note = createNotes(incidents, clock)

  const ports: RunnerPorts = {
    db,
    commit: options.commit,
    clock,
    log,
    cloud,
    address: options.address,
    incidents,
    sendOrder: (instance, order) => {
      const entry = entryOfInstance(instance)
      return entry ? links.sendOrder(entry, instance, order) : false
    },
    tell: (agentId, instance, message) => voters.tell(agentId, instance, message),
    sign: (proposal) => voting.sign(proposal),
    turns: createMoveTurns({ atOnce: options.movesAtOnce, clock }),
    priceOf: (instance) => pools.get(instance)?.price() ?? null,
    lastWordOn: (agentId, replica) => registry.find(agentId)?.lastWords.get(replica),
    onReplicaWanted: (agentId, why) => {
      const entry = registry.find(agentId)
      if (entry) standbys.want(entry, why)
    },
    onCommitted: (agentId, previous, target) => {
      const entry = registry.find(agentId)
      entry?.replicas.delete(target)
      if (entry && previous !== target && entry.atRisk === previous) entry.atRisk = undefined
    },
    onClosed: (...closed) => oldPrimaries.onClosed(...closed),
    onChange,
  }
  const registry = createRegistry({
    fleet,
    replicas: store,
    clock,
    policy: options.policy,
    ports,
    voting,
    signal: options.signal,
  })
  const oldPrimaries = createOldPrimaries({ registry, fleet, clock, log })

  /** Which pool every known instance is in, without a look into the database. */
  const pools = new Map<
    string,
    { agentId: AgentId; poolId: string; price: () => ReturnType<RunnerPorts['priceOf']> }
  >()
  const notePool = (row: { id: string; agent_id: string; pool_id: string; life_cycle: string | null }) =>
    void pools.set(row.id, {
      agentId: asAgentId(row.agent_id),
      poolId: row.pool_id,
      price() {
        const offer = offers.of(row.pool_id)
        return (row.life_cycle === 'on-demand' ? offer?.onDemandPrice : offer?.spotPrice) ?? null
      },
    })
  const entryOfInstance = (instance: InstanceId): Entry | undefined => {
    const agentId = pools.get(instance)?.agentId
    return agentId === undefined ? undefined : registry.find(agentId)
  }

  const risks = createStandbyRisks(options.interruptions, log)
  const replicas = createReplicas({
    fleet,
    store,
    cloud,
    offers,
    clock,
    log,
    coordinatorUrl: options.coordinatorUrl,
    createJoinToken: options.createJoinToken,
    groupOf: (agentId) => registry.find(agentId)?.runner.group,
    risks,
    noticedPools,
  })
  const signals = createSignals({
    db,
    fleet,
    incidents,
    interruptions: options.interruptions,
    clock,
    log,
    standbys: {
      usable: (entry) => standbys.usable(entry),
      protect: (...asked) => standbys.protect(...asked),
    },
  })
  const voters = createVoterEvents({ registry, presence, incidents, voting, clock, log, send: tell })
  const links = createLinkEvents({
    registry,
    presence,
    fleet,
    replicas: store,
    incidents,
    signals,
    voters,
    voting,
    policy: options.policy,
    clock,
    log,
    send,
    onFenced: oldPrimaries.onFenced,
    onChange,
  })
  const views = createViews({ fleet, presence, offers, clock, offlineAfter: options.offlineAfter })
  const standbys = createStandbys({
    fleet,
    store,
    replicas,
    cloud,
    views,
    note,
    clock,
    log,
    sendOrder: links.sendOrder,
    isMoving: () => [...registry.entries()].some(({ runner }) => runner.flight !== undefined),
    onChange: (entry) => onChange(entry.agentId),
  })
  const moves = createMoves({ fleet, incidents, presence, offers, clock })
  const calls = createSignalCalls({ fleet, signals, standbys, views, clock })
  const departures = createDepartures({
    fleet,
    replicas: store,
    presence,
    clock,
    onChange: (entry) => onChange(entry.agentId),
  })
  const policies = createPolicies({
    ...{ registry, fleet, store, replicas, standbys, moves, presence, offers, risks, send, note, clock, log },
    voluntarySwitches: (agentId, since) => countVoluntary(db, agentId, since),
    isReturning: () =>
      [...registry.entries()].some(({ runner }) => runner.flight?.cause === 'return-to-spot'),
    interruptions: options.interruptions,
    canLaunch: cloud.canLaunch,
    cooldown: options.replicaCooldown,
    emptyPoolFor: options.emptyPoolFor,
  })
  const arrivals = createArrivals({
    ...{ registry, fleet, store, standbys, cloud, clock, log, notePool },
    onChange: (entry) => onChange(entry.agentId),
  })
  const housekeeping = createHousekeeping({
    ...{ registry, presence, fleet, departures, cloud, clock, log },
    launches: createLateLaunches({ replicas: store, departures, cloud, clock }),
    onWanted: standbys.tryWanted,
    onWaiting: policies.onWaiting,
  })

  function noticedPools(): ReadonlySet<string> {
    const noticed = new Set<string>()
    for (const { runner } of registry.entries())
      for (const { instance, noticedBy, gone } of runner.group.members.values()) {
        const pool = noticedBy === undefined || gone ? undefined : pools.get(instance)
        if (pool) noticed.add(pool.poolId)
      }
    return noticed
  }

  async function respond(entry: Entry, id: IncidentId): Promise<FailoverResponse> {
    await entry.runner.outcome(id, AbortSignal.timeout(WAIT))
    await incidents.settled()
    const incident = await incidents.get(id)
    const { primary, epoch } = entry.runner.group
    const row = primary === undefined ? undefined : await fleet.instance(primary)
    const open = incident.outcome === 'running'
    return {
      incident,
      new_primary: row && !open ? { instance_id: row.id, pool_id: row.pool_id, epoch } : null,
      agent: await views.agent(entry),
    }
  }

  return {
    name: 'failover',
    links,
    voters: { ...voters, onVoterClosed: links.onVoterClosed },
    async load() {
      for (const row of await fleet.instances()) notePool(row)
      await registry.load(await readOpenMoves(db, incidents, clock))
    },
    async run(signal) {
      for (const entry of registry.entries())
        standbys
          .finishLaunches(entry)
          .catch((error: unknown) => log.error({ event: 'replica.launch_failed', err: error }))
      await runServices([offers, housekeeping, policies.keeper], signal)
    },
    onNewAgent: (agentId) => {
      registry.ensure(agentId)
      onChange(agentId)
    },
    onEnrolled: arrivals.onEnrolled,
    agent: (agentId) => views.agent(registry.get(agentId)),
    agents: () => Promise.all([...registry.entries()].map((entry) => views.agent(entry))),
    primaryOf: (agentId) => registry.find(agentId)?.runner.group.primary,
    async replicas(agentId) {
      const entry = registry.get(agentId)
      const rows = await store.list(agentId)
      // Those at hand are newer than what was read.
      const atHand = new Map([...entry.replicas.values()].map((row) => [row.id, row]))
      return rows.map((row) => views.replica(entry, atHand.get(row.id) ?? row))
    },
    createReplica: async (agentId, body, actor) => standbys.create(registry.get(agentId), body, actor),
    emergencyReplica: async (agentId, body, actor) => standbys.emergency(registry.get(agentId), body, actor),
    deleteReplica: async (agentId, id) => standbys.remove(registry.get(agentId), id),
    syncStatus: async (agentId, id, body, caller) => standbys.note(registry.get(agentId), id, body, caller),
    async plan(agentId, id) {
      const entry = registry.get(agentId)
      return moves.plan(entry, await standbys.row(entry, id))
    },
    async promote(agentId, id, body, by) {
      const entry = registry.get(agentId)
      const row = await standbys.row(entry, id)
      return respond(entry, moves.promote(entry, row, body, by))
    },
    async drill(agentId, id, expectedEpoch) {
      const entry = registry.get(agentId)
      return moves.drill(entry, await standbys.row(entry, id), expectedEpoch)
    },
    outcome: (agentId, incident, signal) => registry.get(agentId).runner.outcome(incident, signal),
    terminationImminent: async (agentId, body) => {
      const entry = registry.get(agentId)
      return respond(entry, await calls.terminationImminent(entry, body))
    },
    rebalance: async (agentId, body) => calls.rebalance(registry.get(agentId), body),
    async instanceGone(agentId, instance) {
      const entry = registry.get(agentId)
      await departures.stated(entry, instance)
      const { flight } = entry.runner
      return {
        instance_id: instance,
        incident_id: flight?.incident.instance === instance ? flight.incident.id : null,
        agent: await views.agent(entry),
      }
    },
    epochs: async (agentId, limit, before) => listEpochs(db, registry.get(agentId).agentId, limit, before),
    switches: (filter) => listSwitches(db, filter),
    offers: offers.current,
  }
}
