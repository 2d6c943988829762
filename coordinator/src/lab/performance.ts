import { type Clock, hours, type Instant, instant } from '@understudy/shared/core/time'
import { intervalOf } from '@understudy/shared/experiments/confidence-sequence'
import { wilson } from '@understudy/shared/models/wilson'
import { type LogDecision, logDecisions, type ModelPerformance } from '@understudy/shared/protocol/lab'
import { sql } from 'kysely'
import type { Kysely, ModelRow, Schema } from '../storage/database.ts'
import { realisedBy } from './realised-sums.ts'

/** What the decisions say that a version has answered. Where another one answered in its place, that is counted apart. */
export type PerformanceOf = (model: ModelRow) => Promise<ModelPerformance>

const BLOCK = hours(12)
/** Blocks of an instance and half a day: twenty instances for five days. */
const PLANNED = 200
const LATELY = hours(24)
const TOO_OFTEN = 0.1
const ENOUGH = 10

export function createPerformance(db: Kysely<Schema>, clock: Clock): PerformanceOf {
  const answered = (id: string) =>
    db.selectFrom('experiment_logs').where('model_id', '=', id).where('fallback_reason', 'is', null)

  async function sums(id: string) {
    const { avg, sum, min, max, countAll, count } = db.fn
    return answered(id)
      .select([
        countAll<number>().as('total'),
        count<number>('instance_id').distinct().as('instances'),
        sum<number | null>('projected_savings').as('savings'),
        sum<number | null>(sql`case when acted = 1 then projected_savings else 0 end`).as('acted'),
        avg<number | null>('prediction_score').as('score'),
        avg<number | null>('execution_duration_ms').as('duration'),
        min('execution_time').as('first'),
        max('execution_time').as('last'),
      ])
      .executeTakeFirstOrThrow()
  }

  async function decisionsOf(id: string): Promise<Record<LogDecision, number>> {
    const rows = await answered(id)
      .select(['decision', db.fn.countAll<number>().as('n')])
      .groupBy('decision')
      .execute()
    const counts = new Map(rows.map(({ decision, n }) => [decision, Number(n)]))
    const of = (name: LogDecision) => counts.get(name) ?? 0
    return Object.fromEntries(logDecisions.map((name) => [name, of(name)])) as Record<LogDecision, number>
  }

  /** The mean of each instance and half day, in micro-dollars. */
  async function savingsByBlock(id: string): Promise<number[]> {
    const rows = await answered(id)
      .select([
        db.fn.sum<number | null>('projected_savings').as('savings'),
        db.fn.countAll<number>().as('n'),
        'instance_id',
        sql<number>`execution_time / ${sql.lit(BLOCK)}`.as('block'),
      ])
      .groupBy(['instance_id', sql`execution_time / ${sql.lit(BLOCK)}`])
      .execute()
    return rows.map(({ savings, n }) => Number(savings ?? 0) / Number(n))
  }

  return async (model) => {
    const { id } = model
    const all = await sums(id)
    const decisions = await decisionsOf(id)
    const chosen = decisions.SWITCH + decisions.HOLD
    const [lower, upper] = wilson(decisions.SWITCH, chosen)
    const blocks = await savingsByBlock(id)
    const savings = intervalOf(blocks, { alpha: 0.05, planned: PLANNED })
    const ever = await fallbacksOf(db, id, instant(0))
    return {
      model_id: id,
      name: model.name,
      version: model.version,
      total_experiments: Number(all.total),
      decisions,
      switch_rate: chosen === 0 ? 0 : decisions.SWITCH / chosen,
      switch_rate_interval: chosen === 0 ? null : { lower, upper },
      total_savings: Number(all.savings ?? 0) / 1e6,
      acted_savings: Number(all.acted ?? 0) / 1e6,
      savings_per_decision: blocks.length === 0 ? null : savings.mean / 1e6,
      // Of one block nothing is known but its mean.
      savings_per_decision_interval:
        blocks.length < 2 ? null : { lower: savings.lower / 1e6, upper: savings.upper / 1e6 },
      realised: await realisedBy(db, id),
      average_prediction_score: numberOf(all.score),
      average_duration_ms: numberOf(all.duration),
      fallbacks: ever.fallbacks,
      fallback_rate: ever.asked === 0 ? 0 : ever.fallbacks / ever.asked,
      instances: Number(all.instances),
      first_at: timeOf(all.first),
      last_at: timeOf(all.last),
      degraded: await degradedNow(db, model, clock.now()),
    }
  }
}

const numberOf = (value: number | null): number | null => (value === null ? null : Number(value))
const timeOf = (at: number | null): string | null => (at === null ? null : new Date(Number(at)).toISOString())

/** Decisions that it was to answer, and how many of them another one did. */
async function fallbacksOf(
  db: Kysely<Schema>,
  id: string,
  since: Instant,
): Promise<{ asked: number; fallbacks: number }> {
  const row = await db
    .selectFrom('experiment_logs')
    .select([db.fn.countAll<number>().as('asked'), db.fn.count<number>('fallback_reason').as('fallbacks')])
    .where('assigned_model_id', '=', id)
    .where('execution_time', '>=', since)
    .executeTakeFirstOrThrow()
  return { asked: Number(row.asked), fallbacks: Number(row.fallbacks) }
}

export const degradedCodes = ['QUARANTINED', 'FALLBACKS'] as const

/** Why somebody should look at it. */
export const degradedNow = async (
  db: Kysely<Schema>,
  model: Pick<ModelRow, 'id' | 'state' | 'state_reason'>,
  now: Instant,
): Promise<ModelPerformance['degraded']> =>
  degraded(model, await fallbacksOf(db, model.id, instant(now - LATELY)))

export function degraded(
  { state, state_reason: why }: Pick<ModelRow, 'state' | 'state_reason'>,
  { asked, fallbacks }: { readonly asked: number; readonly fallbacks: number },
): ModelPerformance['degraded'] {
  const share = asked === 0 ? 0 : fallbacks / asked
  return [
    ...(state === 'QUARANTINED' ? [{ code: 'QUARANTINED', reason: why ?? 'it was found faulty' }] : []),
    ...(asked >= ENOUGH && share > TOO_OFTEN
      ? [
          {
            code: 'FALLBACKS',
            reason: `another version answered ${fallbacks} of its ${asked} decisions of the last 24 h`,
          },
        ]
      : []),
  ]
}
