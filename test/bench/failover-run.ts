import type { PlayedOut } from '../../coordinator/src/demo/ci-story.ts'
import type { IncidentView } from '../../shared/src/protocol/incidents.ts'
import type { CasePlan } from './failover-plan.ts'

/** One change of primary, as its record has it and as the client saw it. All in milliseconds; null: not known. */
export interface Run {
  readonly outcome: string
  readonly detectToPromoted: number | null
  /** From the freeze, or the last sign of life, until the address led to the new primary: the record. */
  readonly noPrimary: number | null
  /** The client's longest time between two answers. */
  readonly clientGap: number | null
  /** From the trigger until the new primary answered the client. */
  readonly total: number | null
  /** The same by the record: until the address led to the new primary. */
  readonly totalOfRecord: number | null
  /** Start hook and health check, as the new primary reported them. */
  readonly ownStart: number | null
  readonly writesAcked: number
  readonly writesLost: number
  /** How long before the trigger the oldest write that is missing had been acknowledged; 0 when none is. */
  readonly lostMillis: number
  /** The client's count agrees with what the record says of the loss. */
  readonly asReported: boolean
  /** What the record says, in order: since it began, and how long each took where that is known. */
  readonly steps: readonly Step[]
}

export interface Step {
  readonly step: string
  readonly t_ms: number
  readonly duration_ms: number | null
}

export interface CaseRuns {
  readonly plan: CasePlan
  readonly runs: readonly Run[]
  /** What ended the case before all runs were done. */
  readonly failures: readonly string[]
}

export function toRun({ result, incident, struckAt, missing }: PlayedOut, takenOverAt: number | null): Run {
  return {
    outcome: result.outcome,
    detectToPromoted: result.detect_to_promoted_ms,
    noPrimary: result.no_primary_ms,
    clientGap: result.client_gap_ms,
    total: takenOverAt === null ? null : takenOverAt - struckAt,
    totalOfRecord: recordedEnd(incident, struckAt),
    ownStart: ownStartOf(incident),
    writesAcked: result.writes_acked,
    writesLost: result.writes_lost,
    lostMillis: missing.length === 0 ? 0 : Math.max(0, struckAt - Math.min(...missing)),
    asReported: result.as_reported,
    steps: incident.steps.map(({ step, t_ms, duration_ms }) => ({ step, t_ms, duration_ms })),
  }
}

/** When somebody served again, after the trigger. Everything is on one machine, so the wall clocks are one. */
function recordedEnd(incident: IncidentView, struckAt: number): number | null {
  const { no_primary_from_t_ms: from, no_primary_ms: during } = incident
  if (from === null || during === null) return null
  return Math.round(Date.parse(incident.detected_at) + from + during - struckAt)
}

function ownStartOf({ steps, new_instance_id }: IncidentView): number | null {
  const durations = ['workload-started', 'health-check'].map(
    (name) =>
      steps.findLast(({ step, ok, reported_by }) => step === name && ok && reported_by === new_instance_id)
        ?.duration_ms,
  )
  return durations.reduce<number | null>(
    (sum, duration) => (sum === null || duration === undefined || duration === null ? null : sum + duration),
    0,
  )
}
