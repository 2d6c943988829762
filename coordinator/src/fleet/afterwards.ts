import type { IncidentId } from '@understudy/shared/core/ids'
import type { IncidentRow, IncidentStepRow } from '../storage/database.ts'
import { type NewStep, tenths } from './incident-rows.ts'

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

/** When nobody served, once both ends of it have been told of an incident that is over. */
export function gapTold(
  row: IncidentRow,
  steps: readonly IncidentStepRow[],
): Pick<IncidentRow, 'no_primary_ms' | 'no_primary_from_t_ms'> | undefined {
  const done = (name: string) => steps.find(({ step, ok }) => step === name && ok === 1)
  const [from, to] = [done('workload-frozen'), done('address-moved')]
  if (row.closed_at === null || row.no_primary_ms !== null || !from || !to) return undefined
  const end = to.t_ms + (to.duration_ms ?? 0)
  return { no_primary_from_t_ms: from.t_ms, no_primary_ms: Math.max(0, tenths(end - from.t_ms)) }
}
