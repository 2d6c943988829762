import { hours } from '@understudy/shared/core/time'
import type { ModelPerformance } from '@understudy/shared/protocol/lab'
import type { Kysely, Schema } from '../storage/database.ts'

/** What came of the switches that a version has decided. Where it answered in the place of another one they are not its own. */
export async function realisedBy(db: Kysely<Schema>, modelId: string): Promise<ModelPerformance['realised']> {
  const rows = await db
    .selectFrom('realised_savings as own')
    .leftJoin('experiment_logs as log', 'log.id', 'own.decision_id')
    .selectAll('own')
    .where('own.model_id', '=', modelId)
    .where('log.fallback_reason', 'is', null)
    .execute()
  const sum = (of: (row: (typeof rows)[number]) => number) => rows.reduce((total, row) => total + of(row), 0)
  const usd = (of: (row: (typeof rows)[number]) => number) => Math.round(sum(of)) / 1e6
  const net = sum((row) => row.saved - row.double_running - (row.switch_cost ?? 0))
  return {
    switches: rows.length,
    open: rows.filter(({ settled_at: at }) => at === null).length,
    savings: usd(({ saved }) => saved),
    double_running_cost: usd((row) => row.double_running),
    switch_cost: rows.some((row) => row.switch_cost === null) ? null : usd((row) => row.switch_cost ?? 0),
    net_savings: net / 1e6,
    projected_savings: usd(({ projected, counted_ms, hold_ms }) => ((projected ?? 0) * counted_ms) / hold_ms),
    counted_hours: sum((row) => row.counted_ms) / hours(1),
    unknown_hours: sum((row) => row.unknown_ms) / hours(1),
  }
}
