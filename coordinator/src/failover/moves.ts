import { AppError } from '@understudy/shared/core/app-error'
import { instanceId as asInstanceId, type IncidentId, type InstanceId } from '@understudy/shared/core/ids'
import { type Clock, seconds } from '@understudy/shared/core/time'
import { type Group, mayPromote, runsAlone, silenceOf } from '@understudy/shared/failover/group'
import type { PromoteRequest, PromotionPlan } from '@understudy/shared/protocol/replicas'
import type { FleetStore, Incidents } from '../fleet/fleet.ts'
import type { ReplicaRow } from '../storage/database.ts'
import type { MoveCause } from './incident-names.ts'
import type { Offers } from './offers.ts'
import type { PresenceBook } from './presence.ts'
import type { Entry } from './registry.ts'

/** A move by hand is called off when it is not done by then; until the release the old primary just runs on. */
const PLANNED_BUDGET = seconds(60)

/** Who has asked for a planned move, and why. An operator, who need not say, if left out. */
export interface MoveBy {
  readonly cause: MoveCause
  readonly why: string
}

/** What a move by hand would do, and doing it. */
export interface Moves {
  plan(entry: Entry, row: ReplicaRow): Promise<PromotionPlan>
  /**
   * Starts the move and returns its incident. The same call again, while it runs, returns the same incident.
   * @throws AppError `stale_epoch`, `not_ready`, `busy` with the present facts
   */
  promote(entry: Entry, row: ReplicaRow, request: PromoteRequest, by?: MoveBy): IncidentId
  /**
   * The same as a rehearsal: only where nothing else is under way, and with the old primary as a standby afterwards.
   * @throws AppError like `promote`
   */
  drill(entry: Entry, row: ReplicaRow, expectedEpoch: number): IncidentId
}

export function createMoves(parts: {
  readonly fleet: FleetStore
  readonly incidents: Incidents
  readonly presence: PresenceBook
  readonly offers: Offers
  readonly clock: Clock
}): Moves {
  const { fleet, incidents, presence, offers, clock } = parts

  const priceOf = (pool: string): number | undefined => {
    const offer = offers.of(pool)
    return offer && offer.spotPrice / 1e6
  }

  async function plan(entry: Entry, row: ReplicaRow): Promise<PromotionPlan> {
    const { group } = entry.runner
    const agent = await fleet.mustAgent(entry.agentId)
    const primary = group.primary === undefined ? undefined : await fleet.instance(group.primary)
    const target = instanceOf(row)
    const why = target
      ? mayPromote(group, target, clock.mono())
      : `${row.id} has no instance yet (${row.status})`
    const lag = lagOf(entry, target)
    const gap = await incidents.medianGap()
    const before = primary ? priceOf(primary.pool_id) : undefined
    const after = priceOf(row.pool_id)
    return {
      agent_id: entry.agentId,
      agent_name: agent.name,
      replica_id: row.id,
      epoch: group.epoch,
      possible: why === undefined,
      reason:
        why ?? 'the last of the state is sent and compared before the old primary stops: no data is lost',
      stops: primary ? { instance_id: primary.id, pool_id: primary.pool_id } : null,
      starts: { instance_id: row.instance_id, pool_id: row.pool_id },
      state_behind: { ms: lag ? Math.round(lag.lagMillis) : null, bytes: lag?.lagBytes ?? null },
      expected_gap_ms: gap.millis,
      expected_gap_samples: gap.samples,
      price_change:
        before === undefined || after === undefined ? null : Math.round((after - before) * 1e6) / 1e6,
      undo: undoOf(agent.terminate_after_switch === 1),
    }
  }

  function lagOf(entry: Entry, target: InstanceId | undefined) {
    const { primary } = entry.runner.group
    const said = primary === undefined ? undefined : presence.get(primary)?.heartbeat?.message.replicas
    return said?.find(({ instanceId }) => instanceId === target)
  }

  function start(
    entry: Entry,
    row: ReplicaRow,
    request: PromoteRequest,
    { trigger, by }: { readonly trigger: 'planned' | 'drill'; readonly by?: MoveBy | undefined },
  ): IncidentId {
    const { runner } = entry
    const { group, flight } = runner
    const facts = { epoch: group.epoch, primary: group.primary ?? null, phase: group.phase.kind }
    const target = instanceOf(row)
    const { phase } = group
    if (flight && phase.kind === 'handing-over' && phase.target === target) return flight.incident.id
    if (request.expected_epoch !== undefined && request.expected_epoch !== group.epoch)
      throw new AppError(
        'stale_epoch',
        `${entry.agentId} is at epoch ${group.epoch}, not ${request.expected_epoch}: something has moved it since you looked`,
        {
          hint: 'Look again and decide anew: GET the same path shows what a promotion would do now.',
          facts,
        },
      )
    if (row.status === 'promoted')
      throw new AppError('conflict', `the replica ${row.id} was promoted before`, {
        hint: `It is the primary, or was: GET /api/agents/${entry.agentId} says which instance is.`,
        facts,
      })
    if (!target) throw refused(group, `the replica ${row.id} has no instance yet (${row.status})`)
    if (flight && phase.kind !== 'steady')
      throw new AppError('busy', `${entry.agentId} is being moved already (${phase.kind})`, {
        hint: `Watch it: GET /api/incidents/${flight.incident.id}`,
        facts: { ...facts, incident: flight.incident.id },
      })
    const why = mayPromote(group, target, clock.mono())
    if (why !== undefined) throw refused(group, why)
    const keepOld = request.demote_old_primary ?? true
    runner.dispatch(
      { kind: 'promote', target, budget: PLANNED_BUDGET, keepOld, trigger },
      by && sightingOf(by),
    )
    const id = runner.flight?.incident.id
    if (!id) throw refused(runner.group, 'the move could not be started')
    return id
  }

  /** The error for a move that cannot be made now. */
  function refused(group: Group, why: string): AppError {
    const { agent, epoch, primary, phase, policy } = group
    const lost = runsAlone(group) && silenceOf(group, clock.mono()) > policy.lease
    return new AppError('not_ready', why, {
      hint: lost
        ? `If EC2 says that it is terminated: POST /api/agents/${agent}/instances/${primary}/gone {"confirmed": true}`
        : `Look at the agent again: GET /api/agents/${agent} says what is under way.`,
      facts: { epoch, primary: primary ?? null, phase: phase.kind, reason: why },
    })
  }

  function drill(entry: Entry, row: ReplicaRow, expectedEpoch: number): IncidentId {
    const { flight, group } = entry.runner
    if (flight)
      throw new AppError('busy', `an incident of ${entry.agentId} is open (${flight.incident.trigger})`, {
        hint: `Wait for its end: GET /api/incidents/${flight.incident.id}`,
        facts: { epoch: group.epoch, phase: group.phase.kind, incident: flight.incident.id },
      })
    const request = { expected_epoch: expectedEpoch, demote_old_primary: true }
    return start(entry, row, request, { trigger: 'drill' })
  }

  const sightingOf = ({ cause, why }: MoveBy) => ({ at: clock.mono(), via: cause, why })

  return {
    plan,
    drill,
    promote: (entry, row, request, by) => start(entry, row, request, { trigger: 'planned', by }),
  }
}

const instanceOf = (row: ReplicaRow): InstanceId | undefined =>
  row.instance_id === null ? undefined : asInstanceId(row.instance_id)

const undoOf = (terminates: boolean): string =>
  terminates
    ? 'Promote back: at once if the old primary is kept as a standby, else once a new replica is ready'
    : 'Promote back once the old instance is a replica again'
