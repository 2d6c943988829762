import {
  type AgentId,
  instanceId as asInstanceId,
  type IncidentId,
  type InstanceId,
} from '@understudy/shared/core/ids'
import { type Clock, instant, type Mono, millis, plus } from '@understudy/shared/core/time'
import type { LeasePolicy } from '@understudy/shared/failover/lease'
import type { Order } from '@understudy/shared/failover/orders'
import type { ReplicaStatus } from '@understudy/shared/protocol/agents'
import type { CoordinatorMessage, Heartbeat, Hello, Report } from '@understudy/shared/protocol/link'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import type { Logger } from 'pino'
import type { FleetStore, Incidents } from '../fleet/fleet.ts'
import type { Voting } from '../identity/identity.ts'
import { type Flight, lossOfRest, noteHeard, noteSealed } from './flight.ts'
import type { PresenceBook } from './presence.ts'
import type { Entry, Registry } from './registry.ts'
import type { ReplicaStore } from './replica-store.ts'
import type { Signals } from './signals.ts'
import type { VoterEvents } from './voter-events.ts'

/** Taken for the way to an agent until it has been measured. */
const UNKNOWN_ROUND_TRIP = millis(100)

/** What the links tell whoever runs failovers. One instance at a time, in order. */
export interface LinkEvents {
  /** False when the instance may not go on; it has been told why. */
  onHello(agentId: AgentId, instance: InstanceId, hello: Hello): boolean
  onHeartbeat(agentId: AgentId, instance: InstanceId, heartbeat: Heartbeat): void
  onReport(agentId: AgentId, instance: InstanceId, report: Report): void
  onDisconnected(agentId: AgentId, instance: InstanceId): void
  onVoterClosed(agentId: AgentId, instance: InstanceId): void
  /** For the group runners: false when the instance is not connected. */
  sendOrder(entry: Entry, instance: InstanceId, order: Order): boolean
}

export function createLinkEvents(parts: {
  readonly registry: Registry
  readonly presence: PresenceBook
  readonly fleet: FleetStore
  readonly replicas: ReplicaStore
  readonly incidents: Incidents
  readonly signals: Signals
  readonly voters: VoterEvents
  readonly voting: Voting
  readonly policy: LeasePolicy
  readonly clock: Clock
  readonly log: Logger
  readonly send: (instance: InstanceId, message: CoordinatorMessage) => boolean
  readonly onFenced: (entry: Entry, instance: InstanceId) => void
  readonly onChange: (agentId: AgentId) => void
}): LinkEvents {
  const {
    registry,
    presence,
    fleet,
    replicas,
    incidents,
    signals,
    voters,
    voting,
    policy,
    clock,
    log,
    send,
  } = parts
  /** Instances whose link is open. */
  const linked = new Set<InstanceId>()
  /** Former primaries whose row as a standby is being written. */
  const adopting = new Set<InstanceId>()

  /** Writes what does not decide anything; a failure is logged and the next change writes it again. */
  const write = (what: string, task: Promise<unknown>): void => {
    task.catch((error: unknown) => log.error({ event: 'failover.not_written', what, err: error }))
  }

  function sendReplicaList(entry: Entry): void {
    const { primary, certificate } = entry.runner.group
    if (primary === undefined || !certificate) return
    const { term } = certificate.proposal
    // After a restart, before they have said hello again: their streams need not be cut.
    for (const { instance_id: replica } of entry.replicas.values())
      if (replica !== null && replica !== primary) entry.tokens.of(term, asInstanceId(replica))
    send(primary, { type: 'replicas', term, replicas: [...entry.tokens.all(term)] })
  }

  function sendOrder(entry: Entry, instance: InstanceId, order: Order): boolean {
    if (order.kind !== 'follow') return send(instance, { type: 'order', order })
    const endpoint = presence.get(order.primary)?.hello.replication
    const token = entry.tokens.of(order.term, instance)
    sendReplicaList(entry)
    if (!entry.replicas.has(instance) && !adopting.has(instance))
      write('replica', adoptAsReplica(entry, instance))
    const upstream = endpoint ? { instanceId: order.primary, ...endpoint, token } : undefined
    return send(instance, upstream ? { type: 'order', order, upstream } : { type: 'order', order })
  }

  /** A former primary that follows the new one is a standby like any other. */
  async function adoptAsReplica(entry: Entry, instance: InstanceId): Promise<void> {
    adopting.add(instance)
    try {
      const row = await fleet.instance(instance)
      if (!row || entry.replicas.has(instance)) return
      const replica = await replicas.create({
        agentId: entry.agentId,
        type: 'manual',
        pool: row.pool_id,
        spotPrice: null,
        createdBy: 'former primary',
        incident: null,
        instanceId: instance,
      })
      entry.replicas.set(instance, replica)
    } finally {
      adopting.delete(instance)
    }
    refreshReplica(entry, instance)
    parts.onChange(entry.agentId)
  }

  /** Brings the row's status to what the two ends say. */
  function refreshReplica(entry: Entry, instance: InstanceId): void {
    const row = entry.replicas.get(instance)
    const member = entry.runner.group.members.get(instance)
    if (!row || !member) return
    const status: ReplicaStatus =
      member.connected && member.sync === 'ready' && member.attached
        ? 'ready'
        : row.status === 'launching' && !member.connected
          ? 'launching'
          : 'syncing'
    if (row.status === status) return
    const ready = status === 'ready' ? { ready_at: clock.now(), sync_percent: 100 } : {}
    entry.replicas.set(instance, { ...row, status, ...ready })
    log.info({ event: 'replica.status', agent: entry.agentId, replica: row.id, instance, status })
    write('replica status', replicas.setStatus(row, status))
    parts.onChange(entry.agentId)
  }

  function onHello(agentId: AgentId, instance: InstanceId, hello: Hello): boolean {
    if (hello.protocol !== PROTOCOL_VERSION) {
      send(instance, {
        type: 'refused',
        code: 'protocol',
        message: `this coordinator speaks protocol ${PROTOCOL_VERSION}, the agent ${hello.protocol}`,
        hint: 'Install the agent of the same version as the coordinator.',
      })
      return false
    }
    const entry = registry.ensure(agentId)
    presence.greeted(instance, agentId, hello)
    linked.add(instance)
    log.info({ event: 'link.hello', agent: agentId, instance, role: hello.role, epoch: hello.epoch })
    voters.onGreeting(entry, instance, hello, () =>
      send(instance, {
        type: 'welcome',
        protocol: PROTOCOL_VERSION,
        agentId,
        coordinatorStart: voting.start,
        coordinatorStartProof: voting.startProof,
        key: voting.publicKey,
        policy,
      }),
    )
    refreshReplica(entry, instance)
    if (instance === entry.runner.group.primary) tellReplicasOf(entry)
    return true
  }

  /** The primary's address may be another one than before, or known for the first time. */
  function tellReplicasOf(entry: Entry): void {
    const { group } = entry.runner
    const { primary, epoch, phase, certificate } = group
    sendReplicaList(entry)
    if (primary === undefined || !certificate || (phase.kind !== 'steady' && phase.kind !== 'routing')) return
    for (const member of group.members.values())
      if (member.connected && member.instance !== primary && !member.retired)
        sendOrder(entry, member.instance, {
          kind: 'follow',
          epoch,
          term: certificate.proposal.term,
          primary,
        })
  }

  function onHeartbeat(agentId: AgentId, instance: InstanceId, message: Heartbeat): void {
    const entry = registry.ensure(agentId)
    presence.heard(instance, message)
    entry.runner.dispatch({
      kind: 'status',
      instance,
      epoch: message.epoch,
      replicas: message.replicas.map(({ instanceId, attached, lagBytes }) => ({
        instance: instanceId,
        attached,
        lagBytes,
      })),
    })
    const { group, flight } = entry.runner
    const term = group.certificate?.proposal.term ?? 0
    if (instance === group.primary && message.epoch >= term) noteLastWords(entry, message)
    noteHeard(flight, instance, group.primary, clock.mono())
    if (instance === group.primary)
      for (const replica of entry.replicas.keys()) refreshReplica(entry, asInstanceId(replica))
    parts.onChange(agentId)
  }

  function noteLastWords(entry: Entry, message: Heartbeat): void {
    const now = clock.mono()
    const transit = message.roundTripMillis ?? UNKNOWN_ROUND_TRIP
    for (const { instanceId, lagBytes, safeMillis } of message.replicas) {
      const before = safeMillis === null ? undefined : millis(-(safeMillis + transit))
      entry.lastWords.set(instanceId, {
        heardAt: now,
        lagBytes,
        safeThrough:
          before === undefined ? undefined : { mono: plus(now, before), wall: plus(clock.now(), before) },
      })
    }
  }

  function onReport(agentId: AgentId, instance: InstanceId, report: Report): void {
    const entry = registry.ensure(agentId)
    const { runner } = entry
    switch (report.kind) {
      case 'promoted':
        // One that comes after the fact says nothing of when that was.
        if (runner.flight?.elsewhere === false && report.incident !== undefined) {
          if (incidents.idOf(report.incident) === runner.flight.incident.id)
            runner.flight.promotedAt ??= clock.mono()
        }
        return runner.dispatch({ kind: 'promoted', instance, epoch: report.epoch })
      case 'promotion-failed':
        return runner.dispatch({
          ...{ kind: 'promotion-failed', instance, epoch: report.epoch, why: report.why },
          incomplete: report.incomplete,
        })
      case 'released':
        return onReleased(entry, instance, report)
      case 'certified':
        return voters.onCertified(entry, instance, report)
      case 'hand-over-failed':
        return runner.dispatch({ kind: 'hand-over-failed', instance, epoch: report.epoch, why: report.why })
      case 'fenced':
        return parts.onFenced(entry, instance)
      case 'sync':
        return onSync(entry, instance, report.sync, report.why)
      case 'notice':
        return signals.onNotice(entry, instance, {
          signal: report.signal,
          time: report.time,
          seenAt: plus(clock.mono(), millis(-report.ageMillis)),
          via: 'imds',
        })
      case 'notice-withdrawn':
        return signals.onWithdrawn(entry, instance)
      case 'maintenance':
        return signals.onMaintenance(entry, instance, report)
      case 'target-lifecycle':
        return signals.onTargetLifecycle(entry, instance, report.state)
      case 'step':
        return onStep(entry, instance, report)
    }
  }

  function onReleased(entry: Entry, instance: InstanceId, report: Report & { kind: 'released' }): void {
    const { runner } = entry
    const { epoch, target, vote, left, incident } = report
    if (!voters.isGenuine(entry, instance, report)) return
    const known = runner.flight
    const { told, group } = runner
    // What is new has an epoch that nobody has been elected in yet.
    const isOver = told?.incident.instance === instance && vote.proposal.epoch <= group.epoch
    if (known) nameRelease(known, instance, report)
    else if (told && isOver) nameRelease(told, instance, report)
    else if (left && !isOfAnother(entry, incidents.idOf(incident)))
      incidents.lossTold(incidents.idOf(incident), lossOfRest(left))
    const why = `${instance} gives its epoch up by itself`
    const sighting = { at: clock.mono(), via: 'members', why }
    runner.dispatch({ kind: 'released', instance, epoch, target, vote }, sighting)
    // It hands over by itself, and this is the first that is heard of it.
    const begun = entry.runner.flight
    if (!known && begun) nameRelease(begun, instance, report)
  }

  function nameRelease(
    flight: Flight,
    instance: InstanceId,
    { left, incident, vote }: Report & { kind: 'released' },
  ): void {
    const { id } = flight.incident
    if (instance !== flight.incident.instance || !noteSealed(flight, vote.proposal, left)) return
    if (flight.left) incidents.lossTold(id, flight.left)
    if (incident === id) return
    for (const step of incidents.alsoKnownAs(id, incident)) measure(flight, instance, step, step.began)
  }

  function onSync(
    entry: Entry,
    instance: InstanceId,
    sync: 'none' | 'syncing' | 'ready',
    why: string | undefined,
  ): void {
    const had = entry.runner.group.members.get(instance)?.hadCopy
    entry.runner.dispatch({ kind: 'sync', instance, sync })
    if (had !== (sync === 'ready'))
      write('copy', fleet.patchInstance(instance, { has_copy: Number(sync === 'ready') }))
    if (why) log.warn({ event: 'replica.trouble', agent: entry.agentId, instance, why })
    refreshReplica(entry, instance)
  }

  /** What a step of the incident that runs says of when nobody served. */
  function measure(
    flight: Flight,
    instance: InstanceId,
    { step, ok, stateThrough }: Pick<Report & { kind: 'step' }, 'step' | 'ok' | 'stateThrough'>,
    began: Mono,
  ): void {
    if (flight.incident.instance === instance) {
      const quiet = step === 'workload-frozen' || step === 'workload-stopped'
      if (quiet && ok) flight.quietFrom ??= began
      // The workload went on: nobody was missing after all.
      if (step === 'workload-thawed') flight.quietFrom = undefined
    }
    if (!ok) return
    flight.restoredThrough = stateThrough ?? flight.restoredThrough
  }

  /** An instance speaks for its own agent only. */
  const isOfAnother = ({ agentId }: Entry, id: IncidentId): boolean =>
    (incidents.agentOf(id) ?? agentId) !== agentId

  function onStep(entry: Entry, instance: InstanceId, step: Report & { kind: 'step' }): void {
    const reporter = presence.get(instance)
    // By its own clock, so that its steps stand in their true order and one that comes late is not shown late.
    const began: Mono = plus(step.began, reporter?.clockOffset ?? millis(0))
    const { flight } = entry.runner
    const id = incidents.idOf(step.incident)
    if (isOfAnother(entry, id))
      return log.warn({ event: 'incident.foreign_step', agent: entry.agentId, instance, incident: id })
    if (flight?.incident.id === id) measure(flight, instance, step, began)
    if (step.step === 'workload-thawed' && step.ok) incidents.servedAgain(id, plus(began, step.tookMillis))
    const roundTrip = reporter?.heartbeat?.message.roundTripMillis ?? UNKNOWN_ROUND_TRIP
    incidents.step(id, {
      step: step.step,
      began,
      tookMillis: step.tookMillis,
      ok: step.ok,
      reportedBy: instance,
      clock: instance,
      at: instant(step.at),
      uncertaintyMillis: roundTrip / 2,
      detail: step.detail,
    })
  }

  function onSilent(agentId: AgentId, instance: InstanceId): void {
    const entry = registry.find(agentId)
    if (!entry) return
    entry.runner.dispatch({ kind: 'disconnected', instance })
    refreshReplica(entry, instance)
  }

  return {
    onHello,
    onHeartbeat,
    onReport,
    onDisconnected(agentId, instance) {
      linked.delete(instance)
      onSilent(agentId, instance)
    },
    // A heartbeat of its voter that came after the end of the link has shown it as connected again.
    onVoterClosed(agentId, instance) {
      if (!linked.has(instance)) onSilent(agentId, instance)
    },
    sendOrder,
  }
}
