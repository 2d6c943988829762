import { randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import { type AgentId, type IncidentId, incidentId } from '@understudy/shared/core/ids'
import { createSerial } from '@understudy/shared/core/serial'
import { type Clock, type Instant, instant, type Mono, millis, plus } from '@understudy/shared/core/time'
import type { IncidentView, Loss, ResponseAction, SignalType } from '@understudy/shared/protocol/incidents'
import type { Logger } from 'pino'
import type { IncidentRow, IncidentStepRow, Kysely, Schema } from '../storage/database.ts'
import { toIncidentView } from './incident-view.ts'

export interface NewIncident {
  readonly id: IncidentId
  readonly agentId: AgentId
  readonly instanceId: string
  readonly signalType: SignalType
  readonly trigger: IncidentView['trigger']
  readonly via: string
  /** When it was first noticed anywhere, on this coordinator's clocks. */
  readonly detected: { readonly wall: Instant; readonly mono: Mono }
  readonly deadline: Instant | null
  readonly epoch: number
  readonly interruptionProbability?: number
}

export interface NewStep {
  readonly step: string
  /** When it began, on this coordinator's monotonic clock. */
  readonly began: Mono
  readonly tookMillis: number | null
  readonly ok: boolean
  readonly reportedBy: string
  readonly clock: string
  /** The reporting machine's wall clock. */
  readonly at: Instant
  readonly uncertaintyMillis: number
  readonly detail: string
}

export interface Closing {
  readonly outcome: IncidentView['outcome']
  readonly why: string
  readonly action: ResponseAction
  readonly replicaId: string | null
  readonly newInstanceId: string | null
  readonly newEpoch: number | null
  readonly failoverMillis: number | null
  readonly noPrimaryMillis: number | null
  readonly noPrimaryFrom: Mono | null
  readonly loss: Loss | null
}

/**
 * The flight recorder. What is recorded is at hand at once and written to the database behind it, in order, so that
 * recording never holds up a move.
 */
export interface Incidents {
  newId(): IncidentId
  open(incident: NewIncident): void
  /** Another path has seen the same thing; `mono` is when. */
  seen(id: IncidentId, via: string, mono: Mono): void
  step(id: IncidentId, step: NewStep): void
  /** When it has to be over, if that has changed. */
  deadline(id: IncidentId, at: Instant | null): void
  /** Who is to take over, so that a coordinator that is restarted knows. */
  target(id: IncidentId, instanceId: string): void
  close(id: IncidentId, closing: Closing): void
  /** The old primary of an incident that has failed was frozen for it until `mono`, which is told after its end. */
  servedAgain(id: IncidentId, mono: Mono): void
  /** The monotonic moment that T+0 stands for; undefined for an incident of an earlier process. */
  zeroOf(id: IncidentId): Mono | undefined
  isOpen(id: IncidentId): boolean
  /** @throws AppError `not_found` */
  get(id: IncidentId): Promise<IncidentView>
  list(filter: { agentId?: AgentId; limit: number; cursor?: string }): Promise<{
    items: readonly IncidentView[]
    next: string | null
  }>
  /** Median time without a primary of the last moves that succeeded, after a notice or by hand. */
  medianGap(): Promise<{ millis: number | null; samples: number }>
  /** What an earlier process left open, taken up again: whoever knows how to go on does, the rest is closed. */
  reopen(): Promise<readonly OpenRecord[]>
  /** Everything recorded so far is in the database. */
  settled(): Promise<void>
}

/** Moves that count for what is to be expected of the next one. */
const SAMPLES = 20
/** Finished incidents that are kept at hand for late steps. */
const AT_HAND = 200

interface Recorded {
  row: IncidentRow
  steps: IncidentStepRow[]
  zero: Mono
}

/** An incident that was open when an earlier process ended. */
export interface OpenRecord {
  readonly row: IncidentRow
  readonly steps: readonly IncidentStepRow[]
  readonly zero: Mono
}

export function createIncidents(parts: {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  readonly log: Logger
  readonly onChange: (incident: IncidentView) => void
}): Incidents {
  const { db, clock, log, onChange } = parts
  const atHand = new Map<IncidentId, Recorded>()
  const inOrder = createSerial()
  const names = new Map<string, { agent: string; pools: Map<string, string> }>()

  const write = (task: () => Promise<unknown>) => {
    inOrder(task).catch((error: unknown) => log.error({ event: 'incident.not_written', err: error }))
  }

  const viewOf = async (row: IncidentRow, steps: readonly IncidentStepRow[]): Promise<IncidentView> => {
    const known = names.get(row.agent_id) ?? { agent: row.agent_id, pools: new Map() }
    for (const id of [row.instance_id, row.new_instance_id])
      if (id !== null && !known.pools.has(id)) {
        const found = await db
          .selectFrom('instances')
          .select('pool_id')
          .where('id', '=', id)
          .executeTakeFirst()
        if (found) known.pools.set(id, found.pool_id)
      }
    if (known.agent === row.agent_id) {
      const agent = await db
        .selectFrom('agents')
        .select('name')
        .where('id', '=', row.agent_id)
        .executeTakeFirst()
      if (agent) known.agent = agent.name
    }
    names.set(row.agent_id, known)
    return toIncidentView(row, steps, known.agent, (id) => known.pools.get(id) ?? null)
  }

  const changed = (recorded: Recorded) => {
    const { row, steps } = recorded
    void viewOf({ ...row }, [...steps]).then(onChange, (error: unknown) =>
      log.warn({ event: 'incident.not_shown', err: error }),
    )
  }

  const update = (id: IncidentId, patch: Partial<IncidentRow>) => {
    const recorded = atHand.get(id)
    if (!recorded) return
    recorded.row = { ...recorded.row, ...patch }
    write(() => db.updateTable('spot_interruption_events').set(patch).where('id', '=', id).execute())
    changed(recorded)
  }

  const stepsOf = (ids: readonly string[]) =>
    ids.length === 0
      ? Promise.resolve([])
      : db
          .selectFrom('incident_steps')
          .selectAll()
          .where('incident_id', 'in', [...ids])
          .orderBy('seq')
          .execute()

  function makeRoom(): void {
    for (const [id, { row }] of atHand) {
      if (atHand.size < AT_HAND) return
      if (row.closed_at !== null) atHand.delete(id)
    }
  }

  return {
    newId: () => incidentId(randomUUID()),
    open(incident) {
      makeRoom()
      const row = toRow(incident)
      const recorded: Recorded = { row, steps: [], zero: incident.detected.mono }
      atHand.set(incident.id, recorded)
      write(() => db.insertInto('spot_interruption_events').values(row).execute())
      changed(recorded)
    },
    seen(id, via, mono) {
      const recorded = atHand.get(id)
      if (!recorded) return
      const seenVia = JSON.parse(recorded.row.seen_via) as { via: string; after_ms: number }[]
      if (seenVia.some((entry) => entry.via === via)) return
      const all = [...seenVia, { via, after_ms: Math.round(mono - recorded.zero) }]
      update(id, { seen_via: JSON.stringify(all) })
    },
    step(id, step) {
      const recorded = atHand.get(id)
      if (!recorded) {
        log.info({ event: 'incident.late_step', incident: id, step: step.step })
        return
      }
      const row: IncidentStepRow = {
        incident_id: id,
        seq: recorded.steps.length + 1,
        step: step.step,
        t_ms: tenths(step.began - recorded.zero),
        duration_ms: step.tookMillis === null ? null : tenths(step.tookMillis),
        ok: Number(step.ok),
        reported_by: step.reportedBy,
        clock: step.clock,
        at: step.at,
        uncertainty_ms: tenths(step.uncertaintyMillis),
        detail: step.detail,
      }
      recorded.steps.push(row)
      log.info({
        event: 'incident.step',
        incident: id,
        step: row.step,
        t: row.t_ms,
        ms: row.duration_ms,
        ok: step.ok,
      })
      write(() => db.insertInto('incident_steps').values(row).execute())
      changed(recorded)
    },
    deadline: (id, at) => update(id, { deadline_at: at }),
    target: (id, instanceId) => update(id, { new_instance_id: instanceId }),
    close(id, closing) {
      const { outcome } = closing
      const zero = atHand.get(id)?.zero
      const done = outcome === 'promoted' || outcome === 'relaunched'
      update(id, {
        outcome,
        outcome_reason: closing.why,
        response_action: closing.action,
        replica_id: closing.replicaId,
        new_instance_id: closing.newInstanceId,
        new_epoch: closing.newEpoch,
        success: outcome === 'no-action' ? null : Number(outcome === 'promoted'),
        failover_completed: Number(done),
        failover_time_ms: closing.failoverMillis,
        no_primary_ms: closing.noPrimaryMillis,
        no_primary_from_t_ms:
          closing.noPrimaryFrom === null || zero === undefined ? null : tenths(closing.noPrimaryFrom - zero),
        loss: closing.loss === null ? null : JSON.stringify(closing.loss),
        closed_at: clock.now(),
      })
      log.info({
        event: 'incident.closed',
        incident: id,
        outcome,
        failoverMs: closing.failoverMillis,
        noPrimaryMs: closing.noPrimaryMillis,
        why: closing.why,
      })
    },
    servedAgain(id, mono) {
      const recorded = atHand.get(id)
      if (!recorded) return
      const { outcome, no_primary_from_t_ms: from } = recorded.row
      if (outcome !== 'failed' || from === null) return
      // An agent that is frozen again later for want of a lease still reports to the last incident that it knew.
      const frozen = recorded.steps.findLast(({ step, ok }) => step === 'workload-frozen' && ok === 1)
      if (frozen?.t_ms !== from) return
      update(id, { no_primary_ms: Math.round(mono - recorded.zero - from) })
    },
    zeroOf: (id) => atHand.get(id)?.zero,
    isOpen: (id) => atHand.get(id)?.row.closed_at === null,
    async get(id) {
      const recorded = atHand.get(id)
      if (recorded) return viewOf(recorded.row, recorded.steps)
      const row = await db
        .selectFrom('spot_interruption_events')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      if (!row)
        throw new AppError('not_found', `there is no incident ${id}`, {
          hint: 'GET /api/incidents lists them.',
        })
      return viewOf(row, await stepsOf([id]))
    },
    async list({ agentId, limit, cursor }) {
      await inOrder(() => undefined)
      let query = db
        .selectFrom('spot_interruption_events')
        .selectAll()
        .orderBy('detected_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit + 1)
      if (agentId !== undefined) query = query.where('agent_id', '=', agentId)
      if (cursor !== undefined) {
        const { at, id } = parseCursor(cursor)
        query = query.where((e) =>
          e.or([e('detected_at', '<', at), e.and([e('detected_at', '=', at), e('id', '<', id)])]),
        )
      }
      const rows = await query.execute()
      const page = rows.slice(0, limit)
      const steps = await stepsOf(page.map(({ id }) => id))
      const items = await Promise.all(
        page.map((row) =>
          viewOf(
            row,
            steps.filter(({ incident_id }) => incident_id === row.id),
          ),
        ),
      )
      const last = page.at(-1)
      return { items, next: rows.length > limit && last ? `${last.detected_at}:${last.id}` : null }
    },
    async medianGap() {
      const rows = await db
        .selectFrom('spot_interruption_events')
        .select('no_primary_ms')
        .where('outcome', '=', 'promoted')
        .where('trigger', 'in', ['notice', 'planned'])
        .where('no_primary_ms', 'is not', null)
        .orderBy('detected_at', 'desc')
        .limit(SAMPLES)
        .execute()
      const gaps = rows.map(({ no_primary_ms: gap }) => gap ?? 0).sort((a, b) => a - b)
      return { millis: gaps[Math.floor(gaps.length / 2)] ?? null, samples: gaps.length }
    },
    async reopen() {
      const rows = await db
        .selectFrom('spot_interruption_events')
        .selectAll()
        .where('closed_at', 'is', null)
        .orderBy('detected_at')
        .execute()
      const steps = await stepsOf(rows.map(({ id }) => id))
      return rows.map((row) => {
        const recorded: Recorded = {
          row,
          steps: steps.filter(({ incident_id }) => incident_id === row.id),
          zero: plus(clock.mono(), millis(row.detected_at - clock.now())),
        }
        atHand.set(incidentId(row.id), recorded)
        return recorded
      })
    },
    settled: () => inOrder(() => undefined),
  }
}

function parseCursor(cursor: string): { at: number; id: string } {
  const match = /^(\d{1,15}):([0-9a-f-]{36})$/.exec(cursor)
  if (match?.[1] && match[2]) return { at: Number(match[1]), id: match[2] }
  throw new AppError('input_invalid', `"${cursor.slice(0, 40)}" is not a cursor that this API has given out`)
}

const toRow = (incident: NewIncident): IncidentRow => ({
  id: incident.id,
  agent_id: incident.agentId,
  instance_id: incident.instanceId,
  signal_type: incident.signalType,
  trigger: incident.trigger,
  detected_at: instant(Math.round(incident.detected.wall)),
  deadline_at: incident.deadline,
  seen_via: JSON.stringify([{ via: incident.via, after_ms: 0 }]),
  replica_id: null,
  new_instance_id: null,
  response_action: 'waiting',
  outcome: 'running',
  outcome_reason: '',
  success: null,
  failover_completed: 0,
  failover_time_ms: null,
  no_primary_ms: null,
  no_primary_from_t_ms: null,
  old_epoch: incident.epoch,
  new_epoch: null,
  interruption_probability: incident.interruptionProbability ?? null,
  loss: null,
  closed_at: null,
})

/** No figure here is more exact than that. */
const tenths = (value: number): number => Math.round(value * 10) / 10
