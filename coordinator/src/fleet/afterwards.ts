import type { IncidentId } from '@understudy/shared/core/ids'
import type { IncidentRow, IncidentStepRow } from '../storage/database.ts'
import type { NewStep } from './incident-rows.ts'

/** Incidents of which this coordinator hears only when they are over: their members moved while it was away. */

/** Incidents whose steps are kept until somebody says what they are about, and steps of each. */
const INCIDENTS = 50
const STEPS = 60

/** Steps that came before their incident was known. Who sends them is authenticated; how many is bounded all the same. */
export interface EarlySteps {
  keep(id: IncidentId, step: NewStep): void
  take(id: IncidentId): readonly NewStep[]
}

export function createEarlySteps(): EarlySteps {
  const kept = new Map<IncidentId, NewStep[]>()
  return {
    keep(id, step) {
      const steps = kept.get(id) ?? []
      if (steps.length < STEPS) steps.push(step)
      kept.set(id, steps)
      const [oldest] = kept.keys()
      if (kept.size > INCIDENTS && oldest !== undefined) kept.delete(oldest)
    },
    take(id) {
      const steps = kept.get(id) ?? []
      kept.delete(id)
      return steps
    },
  }
}

/** What of its times is known, once both ends of them have been told. */
export function timesTold(
  row: IncidentRow,
  steps: readonly IncidentStepRow[],
): Partial<Pick<IncidentRow, 'no_primary_ms' | 'no_primary_from_t_ms' | 'failover_time_ms'>> | undefined {
  const done = (name: string) => steps.find(({ step, ok }) => step === name && ok === 1)
  const endOf = (step: IncidentStepRow) => step.t_ms + (step.duration_ms ?? 0)
  const [frozen, moved, healthy] = ['workload-frozen', 'address-moved', 'health-check'].map(done)
  if (row.closed_at === null || row.outcome === 'failed') return undefined
  const times = {
    ...(frozen && moved && row.no_primary_ms === null
      ? {
          no_primary_from_t_ms: frozen.t_ms,
          no_primary_ms: Math.max(0, Math.round(endOf(moved) - frozen.t_ms)),
        }
      : {}),
    ...(healthy && row.failover_time_ms === null ? { failover_time_ms: Math.round(endOf(healthy)) } : {}),
  }
  return Object.keys(times).length > 0 ? times : undefined
}
