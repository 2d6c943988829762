import { randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import { type AgentId, type IncidentId, incidentId } from '@understudy/shared/core/ids'
import { type Clock, type Instant, instant, type Mono, millis, plus } from '@understudy/shared/core/time'
import type { IncidentView, Loss } from '@understudy/shared/protocol/incidents'
import type { Logger } from 'pino'
import type { IncidentRow, IncidentStepRow, Kysely, Schema } from '../storage/database.ts'
import type { GroupCommit } from '../storage/group-commit.ts'
import { createEarlySteps, timesTold } from './afterwards.ts'
import {
  type Closing,
  type NewIncident,
  type NewStep,
  notEnded,
  parseCursor,
  tenths,
  toEnd,
  toRow,
  toStepRow,
} from './incident-rows.ts'
import { createIncidentViewer } from './incident-view.ts'
import { createIncidentWrites } from './incident-writes.ts'

/**
 * The flight recorder. What is recorded is at hand at once and written to the database behind it, in order, so that
 * recording never holds up a move.
 */
export interface Incidents {
  newId(): IncidentId
  /** One that was closed goes on: what it was about has happened after all. */
  open(incident: NewIncident): void
  /** Another path has seen the same thing; `mono` is when. */
  seen(id: IncidentId, via: string, mono: Mono): void
  /** One of an incident that is not known yet is kept until it is. */
  step(id: IncidentId, step: NewStep): void
  /** Members call it by another id than we do. Returns what they had told of it before. */
  alsoKnownAs(id: IncidentId, other: IncidentId): readonly NewStep[]
  /** The id under which it is recorded here. */
  idOf(id: IncidentId): IncidentId
  /** What is missing, as soon as it is told; after the end only of an incident that is heard of afterwards. */
  lossTold(id: IncidentId, loss: Loss): void
  /** What began as something else is what `signal_type` and `trigger` say from now on. */
  becomes(id: IncidentId, kind: Pick<IncidentRow, 'signal_type' | 'trigger'>): void
  /** When it has to be over, if that has changed. */
  deadline(id: IncidentId, at: Instant | null): void
  /** Who is to take over, so that a coordinator that is restarted knows. */
  target(id: IncidentId, instanceId: string): void
  close(id: IncidentId, closing: Closing): void
  /** The old primary of an incident that has failed was frozen for it until `mono`, which is told after its end. */
  servedAgain(id: IncidentId, mono: Mono): void
  /** Whose incident it is; undefined for one that is not at hand. */
  agentOf(id: IncidentId): string | undefined
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

/** What is recorded within this time is shown at once. */
const SHOWN_AFTER = millis(100)
/** Moves that count for what is to be expected of the next one. */
const SAMPLES = 20
/** Finished incidents that are kept at hand for late steps. */
const AT_HAND = 200

interface Recorded {
  row: IncidentRow
  steps: IncidentStepRow[]
  zero: Mono
  elsewhere: boolean
}

/** An incident that was open when an earlier process ended. */
export interface OpenRecord {
  readonly row: IncidentRow
  readonly steps: readonly IncidentStepRow[]
  readonly zero: Mono
}

export function createIncidents(parts: {
  readonly db: Kysely<Schema>
  readonly commit: GroupCommit
  readonly clock: Clock
  readonly log: Logger
  readonly onChange: (incident: IncidentView) => void
}): Incidents {
  const { db, commit, clock, log, onChange } = parts
  const atHand = new Map<IncidentId, Recorded>()
  /** Other ids of incidents at hand. */
  const names = new Map<IncidentId, IncidentId>()
  const early = createEarlySteps()
  const viewOf = createIncidentViewer(db)
  const find = (id: IncidentId) => atHand.get(names.get(id) ?? id)

  const writes = createIncidentWrites(commit, clock, log)

  /** Steps come in bursts, and a picture of all of them costs more than writing one. */
  const unshown = new Set<Recorded>()
  const changed = (recorded: Recorded) => {
    if (unshown.size === 0) clock.timer(SHOWN_AFTER, showAll)
    unshown.add(recorded)
  }
  const showAll = () => {
    for (const { row, steps } of unshown)
      void viewOf({ ...row }, [...steps]).then(onChange, (error: unknown) =>
        log.warn({ event: 'incident.not_shown', err: error }),
      )
    unshown.clear()
  }

  const update = (id: IncidentId, patch: Partial<IncidentRow>) => {
    const recorded = find(id)
    if (!recorded) return
    recorded.row = { ...recorded.row, ...patch }
    const { id: written } = recorded.row
    writes.change(recorded, (tx) =>
      tx.updateTable('spot_interruption_events').set(patch).where('id', '=', written).execute(),
    )
    changed(recorded)
  }

  function addStep(id: IncidentId, step: NewStep): void {
    const recorded = find(id)
    if (!recorded) {
      early.keep(id, step)
      return log.info({ event: 'incident.early_step', incident: id, step: step.step })
    }
    if (recorded.elsewhere && step.began < recorded.zero) beganAt(recorded, step.began)
    const row = toStepRow(recorded.row.id, recorded.steps.length + 1, step, recorded.zero)
    recorded.steps.push(row)
    log.info({
      event: 'incident.step',
      incident: recorded.row.id,
      step: row.step,
      t: row.t_ms,
      ms: row.duration_ms,
      ok: step.ok,
    })
    // It may have been written with all the others meanwhile.
    writes.change(recorded, (tx) =>
      tx
        .insertInto('incident_steps')
        .values(row)
        .onConflict((conflict) => conflict.columns(['incident_id', 'seq']).doNothing())
        .execute(),
    )
    const times = recorded.elsewhere ? timesTold(recorded.row, recorded.steps) : undefined
    if (times) update(id, times)
    else changed(recorded)
  }

  /** It was noticed earlier than the first of what was heard of it: everything else was that much later. */
  function beganAt(recorded: Recorded, began: Mono): void {
    const by = tenths(recorded.zero - began)
    const { id, detected_at, no_primary_from_t_ms: from, failover_time_ms: took } = recorded.row
    recorded.zero = began
    recorded.steps = recorded.steps.map((step) => ({ ...step, t_ms: tenths(step.t_ms + by) }))
    writes.anew(recorded)
    update(incidentId(id), {
      detected_at: Math.round(detected_at - by),
      no_primary_from_t_ms: from === null ? null : tenths(from + by),
      failover_time_ms: took === null ? null : Math.round(took + by),
    })
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
      if (atHand.has(incident.id)) return update(incident.id, notEnded)
      makeRoom()
      const row = toRow(incident)
      const { detected, elsewhere = false } = incident
      const recorded: Recorded = { row, steps: [], zero: detected.mono, elsewhere }
      atHand.set(incident.id, recorded)
      writes.change(recorded, (tx) => tx.insertInto('spot_interruption_events').values(row).execute())
      changed(recorded)
      for (const step of early.take(incident.id)) addStep(incident.id, step)
    },
    seen(id, via, mono) {
      const recorded = find(id)
      if (!recorded) return
      const seenVia = JSON.parse(recorded.row.seen_via) as { via: string; after_ms: number }[]
      if (seenVia.some((entry) => entry.via === via)) return
      const all = [...seenVia, { via, after_ms: Math.round(mono - recorded.zero) }]
      update(id, { seen_via: JSON.stringify(all) })
    },
    step: addStep,
    alsoKnownAs(id, other) {
      const recorded = atHand.get(id)
      if (!recorded || atHand.has(other)) return []
      names.set(other, id)
      recorded.elsewhere = true
      const steps = early.take(other)
      for (const step of steps) addStep(id, step)
      return steps
    },
    becomes: update,
    deadline: (id, at) => update(id, { deadline_at: at === null ? null : instant(Math.round(at)) }),
    target: (id, instanceId) => update(id, { new_instance_id: instanceId }),
    close(id, closing) {
      const { outcome } = closing
      const recorded = find(id)
      update(id, toEnd(closing, recorded?.zero, clock.now()))
      const times = recorded?.elsewhere ? timesTold(recorded.row, recorded.steps) : undefined
      if (times) update(id, times)
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
      const recorded = find(id)
      if (!recorded) return
      const { outcome, no_primary_from_t_ms: from } = recorded.row
      if (outcome !== 'failed' || from === null) return
      // An agent that is frozen again later for want of a lease still reports to the last incident that it knew.
      const frozen = recorded.steps.findLast(({ step, ok }) => step === 'workload-frozen' && ok === 1)
      if (frozen?.t_ms !== from) return
      update(id, { no_primary_ms: Math.round(mono - recorded.zero - from) })
    },
    idOf: (id) => names.get(id) ?? id,
    lossTold(id, loss) {
      const recorded = find(id)
      if (recorded?.elsewhere || recorded?.row.closed_at === null) update(id, { loss: JSON.stringify(loss) })
    },
    agentOf: (id) => find(id)?.row.agent_id,
    zeroOf: (id) => find(id)?.zero,
    isOpen: (id) => find(id)?.row.closed_at === null,
    async get(id) {
      const recorded = find(id)
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
      await commit.settled()
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
          elsewhere: false,
        }
        atHand.set(incidentId(row.id), recorded)
        return recorded
      })
    },
    settled: () => commit.settled(),
  }
}
