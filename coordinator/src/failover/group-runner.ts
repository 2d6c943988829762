import { messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, IncidentId, InstanceId } from '@understudy/shared/core/ids'
import type { MicroUsd } from '@understudy/shared/core/money'
import { between, type Clock, type Instant, type Mono, millis, plus } from '@understudy/shared/core/time'
import type { Certificate, Proposal } from '@understudy/shared/failover/certificate'
import {
  type Group,
  type GroupEffect,
  type GroupEvent,
  type OpenIncident,
  type Phase,
  silenceOf,
  stepGroup,
} from '@understudy/shared/failover/group'
import type { Order } from '@understudy/shared/failover/orders'
import type { VoterMessage } from '@understudy/shared/failover/voter'
import { proposalDigest } from '@understudy/shared/protocol/vote-signing'
import type { Logger } from 'pino'
import { type Address, type Cloud, hasEnded } from '../cloud/cloud.ts'
import type { Incidents } from '../fleet/fleet.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import type { GroupCommit } from '../storage/group-commit.ts'
import type { PromotedReplica } from './certificates.ts'
import { type Flight, type LastWord, newFlight, resultOf } from './flight.ts'
import { createHandOverOrders } from './hand-over-orders.ts'
import { causeOf, signalOf, stepNameOf, viaOf } from './incident-names.ts'
import { type HeardBefore, lastHeard } from './last-heard.ts'
import { madeElsewhere } from './made-elsewhere.ts'
import type { MoveTurns } from './move-turns.ts'
import { noteOutcome, notePlanned } from './switches.ts'
import { createTraffic } from './traffic.ts'
import { untilWritten } from './until-written.ts'
import { createVoteWriter } from './vote-writer.ts'

/** The cloud is asked about a silent instance this often. */
const CHECK_EVERY = millis(500)
const CALL_TIMEOUT = 5000
/** The old primary has nothing more to do then, and the new one hardly anything: the next move may begin. */
const MOVED: ReadonlySet<Phase['kind']> = new Set(['routing', 'steady', 'failed'])
/** Steps of the group that say that something did not work. */
const FAILURES: ReadonlySet<string> = new Set(['hand-over-failed', 'promotion-failed'])

/** What the runner of one agent needs from the rest of the coordinator. */
export interface RunnerPorts {
  readonly db: Kysely<Schema>
  readonly commit: GroupCommit
  readonly clock: Clock
  readonly log: Logger
  readonly cloud: Cloud
  readonly address: Address
  readonly incidents: Incidents
  /** False when the instance is not connected. */
  readonly sendOrder: (instance: InstanceId, order: Order) => boolean
  /** To its voter; what does not arrive is said again as long as it matters. */
  readonly tell: (agent: AgentId, instance: InstanceId, message: VoterMessage) => void
  readonly sign: (proposal: Proposal) => string
  readonly turns: Pick<MoveTurns, 'take' | 'leave'>
  readonly priceOf: (instance: InstanceId) => MicroUsd | null
  /** What the primary last said of a replica. */
  readonly lastWordOn: (agent: AgentId, replica: InstanceId) => LastWord | undefined
  readonly onReplicaWanted: (agent: AgentId, why: 'notice' | 'replaced' | 'lost') => void
  /** A change of primary is certified, and nothing has followed from it yet. */
  readonly onCommitted: (agent: AgentId, previous: InstanceId | undefined, target: InstanceId) => void
  readonly onClosed: (agent: AgentId, flight: Flight, outcome: 'promoted' | 'relaunched' | 'failed') => void
  readonly onChange: (agent: AgentId) => void
}

/**
 * Carries out what the group machine (shared/src/failover/group.ts) decides for one agent, and measures it. Events are
 * taken one at a time; whatever takes long comes back as an event of its own.
 */
export interface GroupRunner {
  readonly group: Group
  /** The incident that runs, if any. */
  readonly flight: Flight | undefined
  /** The last incident, where it was heard of afterwards and is over: members may tell more of it. */
  readonly told: Flight | undefined
  /** What was taken for a notice, in that incident, nobody had to do. */
  wasPlanned(of: Flight): void
  dispatch(event: GroupEvent, sighting?: Sighting): void
  /** Resolves once every vote so far is in the database; none that follows gets there before `done`. */
  pauseVotes(done: Promise<unknown>): Promise<void>
  /** Resolves when the incident has ended, or the time is up. */
  outcome(id: IncidentId, signal: AbortSignal): Promise<void>
}

/** How the thing that an event tells of was first noticed: when, where that was earlier than now, and by whom. */
export interface Sighting {
  readonly at: Mono
  readonly via: string
  /** What it says beyond that, in a sentence. */
  readonly why?: string
}

/** What an earlier coordinator has left behind. */
export interface Resumed {
  /** The incident that was open when it ended. */
  readonly flight?: Flight | undefined
  readonly heard?: HeardBefore | undefined
}

export function createGroupRunner(
  initial: Group,
  ports: RunnerPorts,
  signal: AbortSignal,
  resumed: Resumed = {},
): GroupRunner {
  const { commit, clock, cloud, address, incidents } = ports
  const { agent } = initial
  const log = ports.log.child({ agent })
  const writer = createVoteWriter(agent, { ...ports, log }, signal)
  const traffic = createTraffic({
    agent,
    address,
    clock,
    log,
    group: () => group,
    timed,
    routed: (epoch) => dispatch({ kind: 'routed', epoch }),
    signal,
  })
  const orderHandOver = createHandOverOrders({
    ...{ agent, turns: ports.turns, clock, timed },
    group: () => group,
    flight: () => flight,
    send: (instance, order) => void ports.sendOrder(instance, order),
  })
  const checked = new Map<InstanceId, Mono>()
  let group = initial
  /** As it was before the event whose effects are carried out. */
  let before = initial
  let flight: Flight | undefined = resumed.flight
  let told: Flight | undefined
  let writing: Promise<unknown> = Promise.resolve() // Votes and certificates: what is said of them comes after.
  let sighting: Sighting | undefined

  function dispatch(event: GroupEvent, seen?: Sighting): void {
    sighting = seen
    const old = group
    const context = { now: clock.mono(), newIncident: incidents.newId, digest: proposalDigest }
    const step = stepGroup(old, event, context)
    before = old
    group = step.group
    if (old.phase.kind !== group.phase.kind || old.epoch !== group.epoch)
      log.info({
        event: 'group.changed',
        because: event.kind,
        from: old.phase.kind,
        to: group.phase.kind,
        epoch: group.epoch,
        primary: group.primary,
        incident: flight?.incident.id,
      })
    for (const effect of step.effects) carryOut(effect, step.effects)
    const mustInform = event.kind === 'outdated' || old.abstainFor.size > 0
    if (mustInform && group.abstainFor.size === 0) later('informed', writer.informed())
    if (old.phase !== group.phase && MOVED.has(group.phase.kind)) ports.turns.leave(agent)
    if (isShown(old, group, event)) ports.onChange(agent)
  }

  function carryOut(effect: GroupEffect, all: readonly GroupEffect[]): void {
    switch (effect.kind) {
      case 'tell':
        return ports.tell(agent, effect.instance, effect.message)
      case 'order':
        if (effect.order.kind !== 'hand-over') return void ports.sendOrder(effect.instance, effect.order)
        incidents.target(effect.order.incident, effect.order.target)
        return orderHandOver(effect.instance, effect.order)
      case 'vote':
        return later('vote', vote(effect))
      case 'record':
        return later('record', recordCertificate(effect))
      case 'drain-address':
        return later('drain-address', traffic.drain(effect.epoch, flight))
      case 'point-address':
        return later('point-address', traffic.point(effect.instance, flight))
      case 'replica-wanted':
        return ports.onReplicaWanted(agent, effect.why)
      case 'check-instance':
        return check(effect.instance)
      case 'incident-opened':
        return open(effect.incident, madeElsewhere(effect.incident, all))
      case 'incident-moved':
        return move(effect.incident)
      case 'incident-step':
        return record(effect.incident, effect.step, clock.mono(), !FAILURES.has(effect.step), effect.detail)
      case 'incident-closed':
        return close(effect)
    }
  }

  /** What is carried out beside the events reports its own failures; anything that comes here is a bug. */
  const later = (what: string, task: Promise<unknown>): void => {
    task.catch((error: unknown) => {
      if (!signal.aborted) log.error({ event: 'group.effect_failed', what, err: error })
    })
  }

  async function vote(effect: GroupEffect & { kind: 'vote' }): Promise<void> {
    const { proposal, record: facts } = effect
    const began = clock.mono()
    const of = facts?.incident?.id === flight?.incident.id ? flight : undefined
    const written = await inWriting(proposal, facts && of, writer.cast(effect, of?.cause ?? null))
    if (!written) return
    if (written.kind === 'spent')
      return dispatch({ kind: 'vote-refused', epoch: proposal.epoch, voted: written.voted })
    if (facts) {
      certified(proposal, of, began, written.replica)
      ports.onCommitted(agent, facts.previous, proposal.primary)
    }
    dispatch({ kind: 'voted', epoch: proposal.epoch, signature: written.signature })
  }

  /** What others have certified is so, whether or not it is in the database yet. */
  async function recordCertificate(effect: GroupEffect & { kind: 'record' }): Promise<void> {
    const { certificate, facts } = effect
    const began = clock.mono()
    const isNewest = certificate.proposal.epoch === group.epoch
    const of = facts.incident?.id === flight?.incident.id ? flight : undefined
    if (isNewest && facts.previous !== certificate.proposal.primary)
      ports.onCommitted(agent, facts.previous, certificate.proposal.primary)
    const written = await inWriting(
      certificate.proposal,
      isNewest ? of : undefined,
      writer.record(effect, of?.cause ?? null),
    )
    if (written && isNewest) certified(certificate.proposal, of, began, written.replica)
  }

  /** What was last heard is noted at once: the incident may end before the database has answered. */
  const inWriting = <T>({ epoch, term, primary }: Proposal, of: Flight | undefined, written: Promise<T>) => {
    if (of && term === epoch) Object.assign(of, { lastWord: ports.lastWordOn(agent, primary), heir: primary })
    writing = Promise.allSettled([writing, written]).then(() => undefined)
    return written
  }

  function certified(
    { epoch, term, primary, forced }: Proposal,
    of: Flight | undefined,
    began: Mono,
    replica: PromotedReplica | null,
  ): void {
    if (!of || term !== epoch) return
    // A renewal leaves it as it was.
    if (replica || of.target !== primary) of.emergency = replica?.incident_id === of.incident.id
    of.target = primary
    of.replicaId = replica?.id ?? of.replicaId
    const evidence = forced ? '; forced: every other voter has ended, has resigned or consents' : ''
    timed(of, 'epoch-moved', began, true, `epoch ${epoch} belongs to ${primary}${evidence}`)
  }

  function check(instance: InstanceId): void {
    const now = clock.mono()
    const last = checked.get(instance)
    if (last !== undefined && between(last, now) < CHECK_EVERY) return
    checked.set(instance, now)
    later(
      'check-instance',
      cloud.describe(instance, AbortSignal.timeout(CALL_TIMEOUT)).then(
        (described) => {
          const ended = described ? hasEnded(described) : cloud.kind === 'simulated'
          if (ended) dispatch({ kind: 'gone', instance })
        },
        (error: unknown) => log.warn({ event: 'cloud.unanswered', instance, why: messageOf(error) }),
      ),
    )
  }

  function open(incident: OpenIncident, elsewhere: Certificate | undefined): void {
    const now = clock.mono()
    // It was closed because nobody seemed to have taken over.
    const again = incidents.zeroOf(incident.id)
    const began = again ?? sighting?.at ?? now
    const heard = lastHeard(before, now, incident.trigger === 'silence' ? resumed.heard : undefined)
    // It votes for another once that one has confirmed the last of the state; what it left out, it reports.
    const gaveUp = elsewhere?.votes.some(({ voter }) => voter === incident.instance) ?? false
    const { trigger } = incident
    flight = newFlight(incident, began, before.epoch, heard)
    told = undefined
    flight.elsewhere = elsewhere !== undefined
    flight.sealedFor = gaveUp ? elsewhere?.proposal.primary : undefined
    flight.cause = causeOf(sighting?.via)
    incidents.open({
      id: incident.id,
      agentId: agent,
      instanceId: incident.instance,
      signalType: signalOf(trigger, flight.cause),
      trigger,
      via: elsewhere ? 'members' : (sighting?.via ?? viaOf(incident)),
      detected: { mono: began, wall: plus(clock.now(), millis(-between(began, now))) },
      deadline: deadlineOf(incident),
      epoch: before.epoch,
      elsewhere: elsewhere !== undefined,
      keepOld: incident.keepOld,
    })
    if (elsewhere || again !== undefined) return
    const said = sighting?.why ?? ''
    const silent = `nothing was heard from ${incident.instance} for ${Math.round(between(heard, now))} ms`
    record(incident.id, stepNameOf(incident), began, true, trigger === 'silence' ? silent : said)
  }

  function move(incident: OpenIncident): void {
    if (flight?.incident.id === incident.id) flight.incident = incident
    incidents.deadline(incident.id, deadlineOf(incident))
  }

  const deadlineOf = ({ trigger, by }: OpenIncident): Instant | null =>
    trigger === 'notice' && by !== undefined ? plus(clock.now(), between(clock.mono(), by)) : null

  function record(
    id: IncidentId,
    step: string,
    began: Mono,
    ok: boolean,
    detail: string,
    tookMillis: number | null = null,
  ): void {
    incidents.step(id, {
      step,
      began,
      tookMillis,
      ok,
      reportedBy: 'coordinator',
      clock: 'coordinator',
      at: clock.now(),
      uncertaintyMillis: 0,
      detail,
    })
  }

  /** Records a step that has just ended, if it belongs to an incident. */
  function timed(of: Flight | undefined, step: string, began: Mono, ok: boolean, detail: string): void {
    if (of) record(of.incident.id, step, began, ok, detail, clock.mono() - began)
  }

  function close({ incident, outcome, why }: GroupEffect & { kind: 'incident-closed' }): void {
    const ended = flight?.incident.id === incident.id ? flight : undefined
    if (ended) flight = undefined
    const now = clock.mono()
    const moved = group.primary !== incident.instance && ended?.heir === group.primary
    const wentOn =
      group.primary === incident.instance &&
      group.phase.kind !== 'failed' &&
      silenceOf(group, now) <= group.policy.lease
    incidents.close(incident.id, {
      outcome,
      why: ended?.elsewhere ? `${why}; its members decided this while the coordinator was away` : why,
      newInstanceId: outcome === 'failed' ? null : (group.primary ?? null),
      newEpoch: group.epoch,
      ...resultOf(ended, outcome, { now, heartbeat: group.policy.heartbeat, wentOn, moved }),
    })
    if (!ended) return
    told = ended.elsewhere ? ended : undefined
    const winner = outcome === 'promoted' ? (group.primary ?? null) : null
    afterVotes('switch-outcome', (tx) => noteOutcome(tx, incident.id, winner))
    for (const wake of ended.waiters) wake()
    ports.onClosed(agent, ended, outcome)
  }

  /** What is said of changes of primary that are on their way into the database. */
  function afterVotes(what: string, write: (tx: Kysely<Schema>) => Promise<void>): void {
    const onFailure = (error: unknown) => log.error({ event: 'failover.not_written', what, err: error })
    const again = () => untilWritten(() => commit.soon(write), { clock, signal, onFailure })
    later(what, writing.then(again))
  }

  return {
    get group() {
      return group
    },
    get flight() {
      return flight
    },
    get told() {
      return told
    },
    wasPlanned({ incident: { id }, cause }) {
      incidents.becomes(id, { trigger: 'planned', signal_type: signalOf('planned', cause) })
      afterVotes('switch-reason', (tx) => notePlanned(tx, id))
    },
    dispatch,
    pauseVotes: writer.pause,
    async outcome(id, until) {
      const running = flight?.incident.id === id ? flight : undefined
      if (!running) return
      await new Promise<void>((resolve) => {
        running.waiters.add(resolve)
        until.addEventListener('abort', () => resolve(), { once: true })
        if (until.aborted) resolve()
      })
    },
  }
}

/** Of beats there are several a second, and of ticks, and nothing that is shown follows from most of them. */
const isShown = (old: Group, group: Group, { kind }: GroupEvent): boolean =>
  old.phase !== group.phase ||
  old.certificate !== group.certificate ||
  old.waiting !== group.waiting ||
  (old.members !== group.members && kind !== 'beat' && kind !== 'status')
