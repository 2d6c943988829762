import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { incidentId as asIncidentId, type IncidentId, type InstanceId } from '@understudy/shared/core/ids'
import {
  between,
  type Clock,
  hours,
  type Instant,
  instant,
  type Mono,
  millis,
  minutes,
  plus,
  seconds,
  sleep,
} from '@understudy/shared/core/time'
import type { AfterSignal } from '@understudy/shared/interruption/rebalance-posterior'
import { FOLLOWED_WITHIN } from '@understudy/shared/interruption/signal-outcome'
import { parsePool } from '@understudy/shared/market/pool'
import { answerRebalance, type RebalanceAnswer } from '@understudy/shared/policies/rebalance-policy'
import { onRebalanceSchema } from '@understudy/shared/protocol/agents'
import type { RebalanceResponse } from '@understudy/shared/protocol/failover'
import type { Report } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { FleetStore, Incidents } from '../fleet/fleet.ts'
import type { Interruptions } from '../interruptions/interruptions.ts'
import type { InstanceRow, Kysely, ReplicaRow, Schema } from '../storage/database.ts'
import { createNotes } from './incident-notes.ts'
import type { Entry } from './registry.ts'

/** A notice whose time is over still has the instance running: it is acted on as fast as possible. */
const OVERDUE_BUDGET = seconds(5)
/** An Auto Scaling group names no time; its instances have about as long as after a notice. */
const ASG_BUDGET = seconds(120)
/** A primary that is being brought up, and gets a notice, is there within this as a rule. */
const OPENS_WITHIN = seconds(10)
const LOOK = millis(50)
/** A notice leaves two minutes; one that is told so late may have been told late. */
const SAME_NOTICE = minutes(5)

export interface NoticeSighting {
  readonly signal: 'termination-notice' | 'rebalance-recommendation'
  readonly time: Instant
  /** When it was first seen, on this coordinator's clock. */
  readonly seenAt: Mono
  readonly via: string
  /** The replica that the caller would like to take over. */
  readonly prefer?: InstanceId | undefined
}

export interface RebalanceOutcome {
  readonly incidentId: IncidentId
  readonly probability: AfterSignal
  readonly threshold: number
  readonly action: RebalanceResponse['action']
  readonly reason: string
  readonly replicaId: string | null
}

type Answered = Pick<RebalanceOutcome, 'action' | 'reason' | 'replicaId'>

/** What AWS says about instances, from whichever path it comes; every thing it says becomes one incident. */
export interface Signals {
  onNotice(entry: Entry, instance: InstanceId, sighting: NoticeSighting): void
  onWithdrawn(entry: Entry, instance: InstanceId): void
  onMaintenance(entry: Entry, instance: InstanceId, event: Report & { kind: 'maintenance' }): void
  onTargetLifecycle(entry: Entry, instance: InstanceId, state: string): void
  /** A termination notice; the incident that it belongs to, new or running or over. */
  terminate(entry: Entry, instance: InstanceId, sighting: NoticeSighting): Promise<IncidentId>
  rebalance(entry: Entry, instance: InstanceId, sighting: NoticeSighting): Promise<RebalanceOutcome>
}

/** Who has standbys, and makes one where there is none. */
interface StandbyMaker {
  usable(entry: Entry): readonly ReplicaRow[]
  protect(
    entry: Entry,
    incident: IncidentId,
    why: string,
    primaryRisk: number,
  ): Promise<{ readonly row: ReplicaRow; readonly created: boolean }>
}

export function createSignals(parts: {
  readonly db: Kysely<Schema>
  readonly fleet: FleetStore
  readonly incidents: Incidents
  readonly interruptions: Pick<Interruptions, 'ledger' | 'afterSignal' | 'estimate'>
  readonly clock: Clock
  readonly log: Logger
  readonly standbys: StandbyMaker
}): Signals {
  const { db, fleet, incidents, interruptions, clock, log, standbys } = parts
  const note = createNotes(incidents, clock)
  /** One rebalance recommendation per instance and emission is one incident. */
  const rebalances = new Map<InstanceId, { time: Instant; outcome: Promise<RebalanceOutcome> }>()
  const onStandby = new Map<InstanceId, IncidentId>()

  async function terminate(
    entry: Entry,
    instance: InstanceId,
    { time, seenAt, via, prefer }: NoticeSighting,
  ): Promise<IncidentId> {
    const { runner } = entry
    const running = runner.flight
    const left = between(clock.now(), time)
    if (via !== 'auto-scaling')
      inBackground('signal outcome', interruptions.ledger.noticed(instance, wallTimeOf(seenAt)))
    // A coordinator that is restarted does not choose it as a standby.
    inBackground('notice', fleet.patchInstance(instance, { notice_at: Math.round(time) }))
    if (running?.incident.instance === instance && running.incident.trigger === 'notice') {
      incidents.seen(running.incident.id, via, seenAt)
      // AWS may have moved it. What Auto Scaling says is a guess of ours, and a time that is over moves nothing.
      if (left > 0 && via !== 'auto-scaling') runner.dispatch({ kind: 'notice', instance, left })
      return running.incident.id
    }
    if (instance !== runner.group.primary) return terminateOther(entry, instance, { seenAt, via })
    runner.dispatch(
      { kind: 'notice', instance, left: left > 0 ? left : OVERDUE_BUDGET, prefer },
      { at: seenAt, via },
    )
    if (running && running === runner.flight && running.incident.trigger === 'notice')
      becameNotice(running.incident.id, instance, { seenAt, via })
    return (await openedFor(entry, instance)) ?? terminateOther(entry, instance, { seenAt, via })
  }

  /** At once, but for a primary that is being brought up: then as soon as it is there. */
  async function openedFor({ runner }: Entry, instance: InstanceId): Promise<IncidentId | undefined> {
    const since = clock.mono()
    while (!runner.flight && between(since, clock.mono()) < OPENS_WITHIN && runner.group.primary === instance)
      await sleep(clock, LOOK)
    return runner.flight?.incident.id
  }

  /** What had begun as a planned move, or as a drill, is the answer to a notice from now on. */
  function becameNotice(id: IncidentId, instance: InstanceId, seen: { seenAt: Mono; via: string }): void {
    incidents.becomes(id, { signal_type: 'termination-notice', trigger: 'notice' })
    incidents.seen(id, seen.via, seen.seenAt)
    note(
      id,
      'notice-received',
      `AWS takes ${instance} back: the move that is under way is no rehearsal and no choice any more`,
    )
  }

  /** A former primary has been dealt with; a standby is replaced. */
  async function terminateOther(
    entry: Entry,
    instance: InstanceId,
    { seenAt, via }: { seenAt: Mono; via: string },
  ): Promise<IncidentId> {
    const isStandby = entry.replicas.has(instance) && !isNoticed(entry, instance)
    const isPrimary = instance === entry.runner.group.primary
    // Whatever it is about, nobody relies on the instance any more, also while its successor is being brought up.
    if (!isPrimary) entry.runner.dispatch({ kind: 'notice', instance, left: ASG_BUDGET })
    const past = await lastIncidentOf(instance)
    // Its members may have moved the workload away because of this very notice, and it follows since.
    if (past && (past.isOfNotice || !isStandby)) return past.id
    const known = onStandby.get(instance)
    if (known) return known
    const id = incidents.newId()
    onStandby.set(instance, id)
    incidents.open({
      id,
      agentId: entry.agentId,
      instanceId: instance,
      signalType: 'termination-notice',
      trigger: 'notice',
      via,
      detected: { mono: seenAt, wall: wallTimeOf(seenAt) },
      deadline: null,
      epoch: entry.runner.group.epoch,
    })
    incidents.close(id, {
      outcome: 'no-action',
      why: isPrimary
        ? `${instance} is being brought up again: once it is there, the notice is an incident of its own`
        : `${instance} is a standby: the primary runs on, and a new standby is wanted`,
      action: 'none',
      replicaId: entry.replicas.get(instance)?.id ?? null,
      newInstanceId: null,
      newEpoch: null,
      failoverMillis: null,
      noPrimaryMillis: null,
      noPrimaryFrom: null,
      loss: null,
    })
    return id
  }

  /** The last one that was about it, and whether a notice that is heard of now can be what it was about. */
  async function lastIncidentOf(
    instance: InstanceId,
  ): Promise<{ readonly id: IncidentId; readonly isOfNotice: boolean } | undefined> {
    await incidents.settled()
    const row = await db
      .selectFrom('spot_interruption_events')
      .select(['id', 'trigger', 'detected_at'])
      .where('instance_id', '=', instance)
      .where('signal_type', '!=', 'rebalance-recommendation')
      .orderBy('detected_at', 'desc')
      .executeTakeFirst()
    if (!row) return undefined
    const isOfNotice =
      row.trigger === 'notice' && between(instant(row.detected_at), clock.now()) < SAME_NOTICE
    return { id: asIncidentId(row.id), isOfNotice }
  }

  function rebalance(
    entry: Entry,
    instance: InstanceId,
    sighting: NoticeSighting,
  ): Promise<RebalanceOutcome> {
    const known = rebalances.get(instance)
    if (known && sighting.time <= known.time) {
      known.outcome.then(
        ({ incidentId }) => incidents.seen(incidentId, sighting.via, sighting.seenAt),
        // Whoever asks is told why, with the outcome itself.
        () => undefined,
      )
      return known.outcome
    }
    const outcome = rebalanceOnce(entry, instance, sighting)
    rebalances.set(instance, { time: sighting.time, outcome })
    outcome.catch(() => {
      if (rebalances.get(instance)?.outcome === outcome) rebalances.delete(instance)
    })
    return outcome
  }

  /** P(interruption within 2 h) by age, pool and hour alone, to compare with; null where it cannot be had. */
  async function hazardOf({ pool_id, launched_at }: InstanceRow): Promise<number | null> {
    const launchedAt = launched_at === null ? null : instant(launched_at)
    const question = { pool: parsePool(pool_id), launchedAt, hours: FOLLOWED_WITHIN / hours(1) }
    return interruptions.estimate(question).then(
      ({ value }) => value,
      (error: unknown) => {
        log.warn({ event: 'signal.no_estimate', pool: pool_id, why: messageOf(error) })
        return null
      },
    )
  }

  async function rebalanceOnce(
    entry: Entry,
    instance: InstanceId,
    { time, seenAt, via }: NoticeSighting,
  ): Promise<RebalanceOutcome> {
    const { agentId, runner } = entry
    const agent = await fleet.mustAgent(agentId)
    const row = await fleet.instance(instance)
    if (!row) throw new AppError('not_found', `there is no instance ${instance}`)
    const probability = await interruptions.afterSignal(parsePool(row.pool_id))
    const detected = { mono: seenAt, wall: wallTimeOf(seenAt) }
    const { incidentId, isNew } = await interruptions.ledger.open({
      instanceId: instance,
      agentId,
      poolId: row.pool_id,
      incidentId: incidents.newId(),
      actionAt: time > 0 ? time : null,
      detectedAt: detected.wall,
    })
    const id = asIncidentId(incidentId)
    const threshold = agent.rebalance_threshold
    if (isNew)
      incidents.open({
        id,
        agentId,
        instanceId: instance,
        signalType: 'rebalance-recommendation',
        trigger: 'rebalance',
        via,
        detected,
        deadline: null,
        epoch: runner.group.epoch,
        interruptionProbability: probability.value,
      })
    else incidents.seen(id, via, seenAt)
    if (instance === runner.group.primary) entry.atRisk = instance
    if (isNew) note(id, 'probability-estimated', probabilityText(probability, await hazardOf(row)))
    try {
      const facts = {
        ...{ instance, isPrimary: instance === runner.group.primary, threshold },
        probability: probability.value,
        policy: onRebalanceSchema.parse(agent.on_rebalance),
        automatic: agent.auto_replica_enabled === 1,
        hasStandby: standbys.usable(entry).length > 0,
      }
      const answer = await carryOut(entry, id, answerRebalance(facts), probability.value)
      if (isNew) endAnswered(id, answer)
      return { incidentId: id, probability, threshold, ...answer }
    } catch (error) {
      const reason = `no replica could be made: ${messageOf(error)}`
      if (isNew) endAnswered(id, { action: 'none', reason, replicaId: null })
      throw error
    }
  }

  /** Whatever came of it: one that stayed open would hold up every move of the agent. */
  function endAnswered(id: IncidentId, { action, reason, replicaId }: Answered): void {
    incidents.close(id, {
      outcome: 'no-action',
      why: reason,
      action: action === 'created-emergency-replica' ? 'created-emergency-replica' : 'none',
      replicaId,
      newInstanceId: null,
      newEpoch: null,
      failoverMillis: null,
      noPrimaryMillis: null,
      noPrimaryFrom: null,
      loss: null,
    })
  }

  async function carryOut(
    entry: Entry,
    incident: IncidentId,
    { act, why }: RebalanceAnswer,
    probability: number,
  ): Promise<Answered> {
    if (act === 'none') return { action: 'none', reason: why, replicaId: null }
    const { row, created } = await standbys.protect(
      entry,
      incident,
      'AWS recommends to rebalance the primary',
      probability,
    )
    if (created) note(incident, 'replica-created', row.reason ?? row.pool_id)
    return {
      action: created ? 'created-emergency-replica' : 'replica-exists',
      reason: why,
      replicaId: row.id,
    }
  }

  const wallTimeOf = (seenAt: Mono): Instant => plus(clock.now(), millis(-between(seenAt, clock.mono())))

  const inBackground = (what: string, task: Promise<unknown>): void => {
    task.catch((error: unknown) => log.error({ event: 'signal.failed', what, err: error }))
  }

  return {
    onNotice(entry, instance, sighting) {
      if (sighting.signal === 'termination-notice')
        inBackground('termination', terminate(entry, instance, sighting))
      else inBackground('rebalance', rebalance(entry, instance, sighting))
    },
    onWithdrawn(entry, instance) {
      const { flight } = entry.runner
      if (flight?.incident.instance === instance)
        incidents.seen(flight.incident.id, 'withdrawn', clock.mono())
      onStandby.delete(instance)
      inBackground('notice', fleet.patchInstance(instance, { notice_at: null }))
      entry.runner.dispatch({ kind: 'notice-withdrawn', instance })
    },
    onMaintenance(entry, instance, event) {
      log.warn({ event: 'notice.maintenance', agent: entry.agentId, instance, ...event })
      if (instance !== entry.runner.group.primary) return
      if (event.state === 'active') entry.inMaintenance = instance
      else if (entry.inMaintenance === instance) entry.inMaintenance = undefined
    },
    onTargetLifecycle(entry, instance, state) {
      log.info({ event: 'notice.target_lifecycle', agent: entry.agentId, instance, state })
      if (state !== 'Terminated') return
      const time = instant(clock.now() + ASG_BUDGET)
      inBackground(
        'auto scaling',
        terminate(entry, instance, {
          signal: 'termination-notice',
          time,
          seenAt: clock.mono(),
          via: 'auto-scaling',
        }),
      )
    },
    terminate,
    rebalance,
  }
}

const isNoticed = ({ runner }: Entry, instance: InstanceId): boolean =>
  runner.group.members.get(instance)?.noticedBy !== undefined

const probabilityText = ({ value, because }: AfterSignal, hazard: number | null): string =>
  `${value.toFixed(2)} that a notice follows: ${because}${
    hazard === null
      ? ''
      : `; by age, hour and history of the pool alone it would be ${hazard.toFixed(4)} within 2 h`
  }`
