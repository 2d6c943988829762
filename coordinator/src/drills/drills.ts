import { randomUUID } from 'node:crypto'
import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type AgentId, agentId as asAgentId, incidentId, replicaId } from '@understudy/shared/core/ids'
import { createSerial } from '@understudy/shared/core/serial'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, millis, minutes, plus, sleep } from '@understudy/shared/core/time'
import type { AgentView } from '@understudy/shared/protocol/agents'
import type { DrillRequest, DrillView } from '@understudy/shared/protocol/drills'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { Logger } from 'pino'
import type { Failover } from '../failover/failover.ts'
import type { Incidents } from '../fleet/fleet.ts'
import type { DrillRow, Kysely, Position, Schema } from '../storage/database.ts'
import { comparisonOf, figuresOf, givenUpFor, moveOf, refusalOf } from './drill-report.ts'
import { createDrillStore } from './drill-store.ts'

/**
 * Rehearses failovers on live agents: a planned move to a replica that is ready, with the old primary as a standby, and back if
 * that is wished. Nothing is launched or ended for it.
 */
export interface Drills extends Service {
  /** @throws AppError `not_ready`, `busy`, `not_found`, `stale_epoch` */
  begin(agentId: AgentId, request: DrillRequest, actor: string): Promise<DrillView>
  /** @throws AppError `not_found` */
  get(agentId: AgentId, id: string): Promise<DrillView>
  /** The latest first. */
  list(agentId: AgentId, before: Position | undefined, limit: number): Promise<readonly DrillView[]>
}

/** The old primary has this long to be a ready standby, before it is left as one. */
const BACK_WITHIN = minutes(3)
const LOOK_EVERY = millis(100)

type Ports = Pick<Failover, 'agent' | 'plan' | 'drill' | 'outcome'>

export function createDrills(parts: {
  readonly db: Kysely<Schema>
  readonly failover: Ports
  readonly incidents: Pick<Incidents, 'get' | 'settled'>
  readonly clock: Clock
  readonly log: Logger
}): Drills {
  const { failover, incidents, clock, log } = parts
  const stopping = new AbortController()
  const { signal } = stopping
  const store = createDrillStore(parts.db)
  const inOrder = createSerial()
  const running = new Set<Promise<void>>()

  async function begin(id: AgentId, request: DrillRequest, actor: string): Promise<DrillRow> {
    const agent = await failover.agent(id)
    const [open] = await store.open(id)
    if (open)
      throw new AppError('busy', `a drill of ${id} is under way`, {
        hint: `Watch it: GET /api/agents/${id}/drills/${open.id}`,
        facts: { drill: open.id },
      })
    const refused = refusalOf(agent)
    if (refused)
      throw new AppError(refused.code, refused.why, {
        hint: `Nothing was done. GET /api/agents/${id} says how it stands.`,
        facts: { epoch: agent.epoch, phase: agent.phase, state: agent.state },
      })
    const target = targetOf(agent, request.replica_id)
    const { state_behind: behind } = await failover.plan(id, replicaId(target))
    const incident = await failover.drill(id, replicaId(target), agent.epoch)
    const row: DrillRow = {
      id: randomUUID(),
      agent_id: id,
      replica_id: target,
      requested_by: actor,
      switch_back: Number(request.switch_back ?? false),
      status: 'moving',
      reason: 'the primary hands over',
      from_instance_id: agent.instance_id ?? '',
      to_instance_id: agent.replicas.find((replica) => replica.id === target)?.instance_id ?? '',
      bytes_behind: behind.bytes,
      incident_id: incident,
      back_incident_id: null,
      back_bytes_behind: null,
      started_at: clock.now(),
      ended_at: null,
    }
    await store.add(row)
    log.info({ event: 'drill.begun', agent: id, drill: row.id, incident })
    return row
  }

  /** Until the incident is closed; also one that an earlier coordinator has begun. */
  async function ended(agent: AgentId, incident: string): Promise<IncidentView> {
    for (;;) {
      await failover.outcome(agent, incidentId(incident), signal)
      const view = await incidents.get(incidentId(incident))
      if (view.closed_at !== null) return view
      await sleep(clock, LOOK_EVERY, signal)
    }
  }

  const change = async (row: DrillRow, values: Partial<DrillRow>): Promise<DrillRow> => {
    await store.change(row.id, values)
    return { ...row, ...values }
  }

  async function carryOn(row: DrillRow): Promise<Pick<DrillRow, 'status' | 'reason'>> {
    const agent = asAgentId(row.agent_id)
    const out = await ended(agent, row.incident_id)
    if (out.trigger !== 'drill') return { status: 'failed', reason: givenUpFor(out) }
    if (out.outcome !== 'promoted') return { status: 'failed', reason: out.outcome_reason || out.outcome }
    const moved = `${row.to_instance_id} took over`
    if (row.switch_back === 0)
      return { status: 'done', reason: `${moved}; ${row.from_instance_id} stands by` }
    const waiting = row.back_incident_id === null ? await moveBack(agent, row, moved) : row
    if (typeof waiting === 'string') return { status: 'failed', reason: waiting }
    const back = await ended(agent, waiting.back_incident_id ?? '')
    if (back.trigger !== 'drill') return { status: 'failed', reason: `${moved}; then ${givenUpFor(back)}` }
    return back.outcome === 'promoted'
      ? { status: 'done', reason: `${moved}, and ${row.from_instance_id} took over again` }
      : { status: 'failed', reason: `${moved}, and did not give it back: ${back.outcome_reason}` }
  }

  /** Begins the move back once it can be; why it cannot, otherwise. */
  async function moveBack(agent: AgentId, row: DrillRow, moved: string): Promise<DrillRow | string> {
    const status = {
      status: 'moving-back',
      reason: `${moved}; it gives it back once the old primary is ready`,
    }
    const waiting = await change(row, status)
    const until = plus(clock.mono(), BACK_WITHIN)
    let why = `${row.from_instance_id} is no standby`
    while (clock.mono() < until) {
      const view = await failover.agent(agent)
      if (view.instance_id !== row.to_instance_id)
        return `${moved}, but ${view.instance_id ?? 'nobody'} is primary now: it is not moved back`
      const standby = view.replicas.find(({ instance_id: at }) => at === row.from_instance_id)
      if (standby?.notice) return `${moved}, and AWS takes ${row.from_instance_id} back: it is not moved back`
      const begun = standby && (await tryBack(agent, standby.id))
      if (begun && typeof begun !== 'string') return change(waiting, begun)
      why = begun ?? why
      await sleep(clock, LOOK_EVERY, signal)
    }
    return `${moved}, and was not moved back: ${why}`
  }

  /** What has begun, or why it cannot yet. */
  async function tryBack(agent: AgentId, standby: string): Promise<Partial<DrillRow> | string> {
    const { possible, reason, epoch, state_behind: behind } = await failover.plan(agent, replicaId(standby))
    if (!possible) return reason
    try {
      const incident = await failover.drill(agent, replicaId(standby), epoch)
      return { back_incident_id: incident, back_bytes_behind: behind.bytes }
    } catch (error) {
      // It has changed since it was looked at.
      if (isAppError(error)) return error.message
      throw error
    }
  }

  function follow(row: DrillRow): void {
    const task = carryOn(row).then(
      async (end) => {
        await incidents.settled()
        await store.change(row.id, { ...end, ended_at: clock.now() })
        log.info({ event: 'drill.ended', agent: row.agent_id, drill: row.id, ...end })
      },
      async (error: unknown) => {
        // The next coordinator goes on with it.
        if (signal.aborted) return
        log.error({ event: 'drill.failed', agent: row.agent_id, drill: row.id, err: error })
        await store.change(row.id, { status: 'failed', reason: messageOf(error), ended_at: clock.now() })
      },
    )
    const tracked = task
      .catch((error: unknown) => log.error({ event: 'drill.not_written', drill: row.id, err: error }))
      .finally(() => running.delete(tracked))
    running.add(tracked)
  }

  async function viewOf(row: DrillRow): Promise<DrillView> {
    const incident = await incidents.get(incidentId(row.incident_id))
    const moves = [
      moveOf(incident, {
        direction: 'out',
        from_instance_id: row.from_instance_id,
        to_instance_id: row.to_instance_id,
        bytes_behind: row.bytes_behind,
      }),
    ]
    if (row.back_incident_id !== null)
      moves.push(
        moveOf(await incidents.get(incidentId(row.back_incident_id)), {
          direction: 'back',
          from_instance_id: row.to_instance_id,
          to_instance_id: row.from_instance_id,
          bytes_behind: row.back_bytes_behind,
        }),
      )
    const from = Date.parse(incident.detected_at)
    const before = {
      drills: figuresOf(await store.past(row.agent_id, ['drill'], from)),
      incidents: figuresOf(await store.past(row.agent_id, ['notice', 'silence'], from)),
    }
    return {
      id: row.id,
      agent_id: row.agent_id,
      agent_name: incident.agent_name,
      status: row.status as DrillView['status'],
      reason: row.reason,
      requested_by: row.requested_by,
      switch_back: row.switch_back === 1,
      started_at: new Date(row.started_at).toISOString(),
      ended_at: row.ended_at === null ? null : new Date(row.ended_at).toISOString(),
      moves,
      before,
      comparison: comparisonOf(moves[0], before),
    }
  }

  return {
    name: 'drills',
    async run(until) {
      for (const row of await store.open()) follow(row)
      await new Promise<void>((resolve) => {
        until.addEventListener('abort', () => resolve(), { once: true })
        if (until.aborted) resolve()
      })
      stopping.abort()
      await Promise.all(running)
    },
    begin: (agentId, request, actor) =>
      inOrder(async () => {
        const row = await begin(agentId, request, actor)
        follow(row)
        return viewOf(row)
      }),
    async get(agentId, id) {
      const row = await store.find(agentId, id)
      if (!row)
        throw new AppError('not_found', `there is no drill ${id} of ${agentId}`, {
          hint: `GET /api/agents/${agentId}/drills lists them.`,
        })
      return viewOf(row)
    },
    async list(agentId, before, limit) {
      await failover.agent(agentId)
      return Promise.all((await store.list(agentId, before, limit)).map(viewOf))
    },
  }
}

/** The successor needs no other change before it; else who is least behind. @throws AppError `not_ready`, `not_found` */
function targetOf(agent: AgentView, wished: string | undefined): string {
  if (wished !== undefined) {
    const replica = agent.replicas.find(({ id }) => id === wished)
    if (!replica) throw new AppError('not_found', `${agent.id} has no replica ${wished}`)
    return replica.id
  }
  const ready = agent.replicas.filter(({ status }) => status === 'ready')
  const successor = ready.find(({ instance_id: at }) => at !== null && at === agent.successor_id)
  const [best] = ready.toSorted((a, b) => (a.lag_ms ?? Infinity) - (b.lag_ms ?? Infinity))
  return (successor ?? best)?.id ?? ''
}
