import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, IncidentId, InstanceId } from '@understudy/shared/core/ids'
import type { MicroUsd } from '@understudy/shared/core/money'
import {
  between,
  type Clock,
  type Instant,
  type Mono,
  millis,
  plus,
  sleep,
} from '@understudy/shared/core/time'
import {
  type Group,
  type GroupEffect,
  type GroupEvent,
  type OpenIncident,
  silenceOf,
  stepGroup,
} from '@understudy/shared/failover/group'
import type { Order } from '@understudy/shared/failover/orders'
import type { SignalType } from '@understudy/shared/protocol/incidents'
import type { Logger } from 'pino'
import { type Address, type Cloud, hasEnded } from '../cloud/cloud.ts'
import type { Incidents } from '../fleet/fleet.ts'
import type { Kysely, Schema } from '../storage/database.ts'
import { commitEpoch, type EpochChange } from './commit-epoch.ts'
import { type Flight, type LastWord, newFlight, resultOf } from './flight.ts'

/** The cloud is asked about a silent instance this often. */
const CHECK_EVERY = millis(500)
const CALL_TIMEOUT = 5000
/** Steps of the group that say that something did not work. */
const FAILURES: ReadonlySet<string> = new Set(['hand-over-failed', 'promotion-failed'])
const RETRY = millis(250)
const RETRY_SLOW = millis(2000)

/** What the runner of one agent needs from the rest of the coordinator. */
export interface RunnerPorts {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly cloud: Cloud
  readonly address: Address
  readonly incidents: Incidents
  /** False when the instance is not connected. */
  readonly sendOrder: (instance: InstanceId, order: Order) => boolean
  readonly sendLease: (instance: InstanceId, effect: GroupEffect & { kind: 'lease' }) => void
  readonly priceOf: (instance: InstanceId) => MicroUsd | null
  /** What the primary last said of a replica. */
  readonly lastWordOn: (agent: AgentId, replica: InstanceId) => LastWord | undefined
  readonly onReplicaWanted: (
    agent: AgentId,
    why: 'notice' | 'replaced' | 'lost',
    flight: Flight | undefined,
  ) => void
  /** After a change of primary was written, before anything follows from it. */
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
  dispatch(event: GroupEvent, sighting?: Sighting): void
  /** Resolves when the incident has ended, or the time is up. */
  outcome(id: IncidentId, signal: AbortSignal): Promise<void>
}

/** How the thing that an event tells of was first noticed: when, where that was earlier than now, and by whom. */
export interface Sighting {
  readonly at: Mono
  readonly via: string
}

export function createGroupRunner(
  initial: Group,
  ports: RunnerPorts,
  signal: AbortSignal,
  /** The incident that was open when an earlier coordinator ended. */
  resumed?: Flight,
): GroupRunner {
  const { db, clock, cloud, address, incidents } = ports
  const { agent } = initial
  const log = ports.log.child({ agent })
  const checked = new Map<InstanceId, Mono>()
  let group = initial
  let flight: Flight | undefined = resumed
  let sighting: Sighting | undefined

  function dispatch(event: GroupEvent, seen?: Sighting): void {
    sighting = seen
    const before = group
    const step = stepGroup(group, event, { now: clock.mono(), newIncident: incidents.newId })
    group = step.group
    if (before.phase.kind !== group.phase.kind || before.epoch !== group.epoch)
      log.info({
        event: 'group.changed',
        because: event.kind,
        from: before.phase.kind,
        to: group.phase.kind,
        epoch: group.epoch,
        primary: group.primary,
        incident: flight?.incident.id,
      })
    for (const effect of step.effects) carryOut(effect)
    if (before !== group && event.kind !== 'heartbeat') ports.onChange(agent)
  }

  function carryOut(effect: GroupEffect): void {
    switch (effect.kind) {
      case 'lease':
        return ports.sendLease(effect.instance, effect)
      case 'order':
        if (effect.order.kind === 'hand-over') incidents.target(effect.order.incident, effect.order.target)
        return void ports.sendOrder(effect.instance, effect.order)
      case 'commit':
        return later('commit', commit(effect))
      case 'drain-address':
        return later('drain-address', drain(effect.epoch))
      case 'point-address':
        return later('point-address', point(effect))
      case 'replica-wanted':
        return ports.onReplicaWanted(agent, effect.why, flight)
      case 'check-instance':
        return check(effect.instance)
      case 'incident-opened':
        return open(effect.incident)
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

  async function commit(effect: GroupEffect & { kind: 'commit' }): Promise<void> {
    const { from, to, target, previous, incident } = effect
    const began = clock.mono()
    const change = changeOf(effect)
    for (;;) {
      try {
        const outcome = await commitEpoch(db, clock, change)
        if (outcome.kind === 'moved') return onMoved(from, outcome.epoch)
        if (flight && incident?.id === flight.incident.id) {
          flight.target = target
          flight.lastWord = ports.lastWordOn(agent, target)
          flight.replicaId = outcome.replicaId ?? flight.replicaId
          timed(flight, 'epoch-moved', began, true, `epoch ${to} belongs to ${target}`)
        }
        ports.onCommitted(agent, previous, target)
        return dispatch({ kind: 'committed', epoch: to })
      } catch (error) {
        // A database that is busy or full takes the change later; until then nobody is promoted.
        log.error({ event: 'group.commit_failed', to, why: messageOf(error) })
        await sleep(clock, RETRY, signal)
      }
    }
  }

  function changeOf({ from, to, target, previous, incident }: GroupEffect & { kind: 'commit' }): EpochChange {
    const { phase } = group
    return {
      agentId: agent,
      from,
      to,
      target,
      previous: previous ?? null,
      incident: incident?.id ?? null,
      trigger: incident?.trigger ?? null,
      fresh: phase.kind === 'committing' && phase.fresh,
      retirePrevious: incident !== undefined && !incident.keepOld && previous === incident.instance,
      oldPrice: previous === undefined ? null : ports.priceOf(previous),
      newPrice: ports.priceOf(target),
    }
  }

  /** One process owns the database, so only a person can have done this. */
  function onMoved(expected: number, found: number): void {
    log.error({
      event: 'group.safety_violation',
      expected,
      found,
      hint: 'The epoch in the database changed behind this coordinator. Stop it and find out what else writes there.',
    })
  }

  async function drain(epoch: number): Promise<void> {
    const began = clock.mono()
    try {
      const did = await address.drain({ agentId: agent, epoch }, AbortSignal.timeout(CALL_TIMEOUT))
      if (did !== undefined) timed(flight, 'traffic-cut', began, true, did)
    } catch (error) {
      // The new primary's `point` cuts it too, and is tried until it works.
      log.warn({ event: 'address.drain_failed', epoch, why: messageOf(error) })
      timed(flight, 'traffic-cut', began, false, messageOf(error))
    }
  }

  async function point({ epoch, instance }: GroupEffect & { kind: 'point-address' }): Promise<void> {
    const mine = flight
    for (let attempt = 0; group.epoch === epoch; attempt += 1) {
      const began = clock.mono()
      try {
        const did = await address.point(
          { agentId: agent, instanceId: instance, epoch },
          AbortSignal.timeout(CALL_TIMEOUT),
        )
        if (did !== undefined) timed(mine, 'address-moved', began, true, did)
        return dispatch({ kind: 'routed', epoch })
      } catch (error) {
        if (isAppError(error, 'stale_epoch')) return
        log.error({ event: 'address.point_failed', epoch, attempt, why: messageOf(error) })
        if (attempt === 0)
          timed(mine, 'address-moved', began, false, `${messageOf(error)}; it is tried again`)
        await sleep(clock, attempt < 10 ? RETRY : RETRY_SLOW, signal)
      }
    }
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

  function open(incident: OpenIncident): void {
    const now = clock.mono()
    const began = sighting?.at ?? now
    const heard = plus(now, millis(-silenceOf(group, now)))
    flight = newFlight(incident, began, group.epoch, heard)
    incidents.open({
      id: incident.id,
      agentId: agent,
      instanceId: incident.instance,
      signalType: signalOf(incident),
      trigger: incident.trigger,
      via: sighting?.via ?? viaOf(incident),
      detected: { mono: began, wall: plus(clock.now(), millis(-between(began, now))) },
      deadline: deadlineOf(incident),
      epoch: group.epoch,
    })
    const detail =
      incident.trigger === 'silence'
        ? `nothing was heard from ${incident.instance} for ${Math.round(between(heard, now))} ms`
        : ''
    record(incident.id, stepNameOf(incident), began, true, detail)
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
    const wentOn =
      group.primary === incident.instance &&
      group.phase.kind !== 'failed' &&
      silenceOf(group, now) <= group.policy.lease
    incidents.close(incident.id, {
      outcome,
      why,
      newInstanceId: outcome === 'failed' ? null : (group.primary ?? null),
      newEpoch: group.epoch,
      ...resultOf(ended, outcome, { now, heartbeat: group.policy.heartbeat, wentOn }),
    })
    if (!ended) return
    later(
      'switch-outcome',
      db
        .updateTable('instance_switches')
        .set({ success: Number(outcome === 'promoted') })
        .where('incident_id', '=', incident.id)
        .execute(),
    )
    for (const wake of ended.waiters) wake()
    ports.onClosed(agent, ended, outcome)
  }

  return {
    get group() {
      return group
    },
    get flight() {
      return flight
    },
    dispatch,
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

const signalOf = ({ trigger }: OpenIncident): SignalType => {
  if (trigger === 'notice') return 'termination-notice'
  return trigger === 'silence' ? 'instance-lost' : 'operator-request'
}

const viaOf = ({ trigger }: OpenIncident): string => {
  if (trigger === 'notice') return 'notice'
  return trigger === 'silence' ? 'missed-heartbeats' : 'operator'
}

const stepNameOf = ({ trigger }: OpenIncident): string => {
  if (trigger === 'notice') return 'notice-received'
  return trigger === 'silence' ? 'primary-lost' : 'move-requested'
}
