import { type Instant, instant, type Millis } from '@understudy/shared/core/time'
import type { Life } from '@understudy/shared/interruption/multipliers'
import type { PoolHistory } from '@understudy/shared/interruption/rate-book'
import type { InterruptionBand } from '@understudy/shared/market/pool'
import { parsePool } from '@understudy/shared/market/pool'
import type { InstanceRow, Kysely, Schema } from '../storage/database.ts'

/** A spot instance of ours in the time that is looked at. */
export interface Lived {
  readonly poolId: string
  readonly launchedAt: Instant
  readonly from: Instant
  readonly to: Instant
  readonly interrupted: boolean
}

export interface NoticeRow {
  readonly instance_id: string
  readonly detected_at: number
  /** JSON: [{via, after_ms}]. */
  readonly seen_via: string
}
type RunRow = Pick<InstanceRow, 'id' | 'pool_id' | 'launched_at' | 'enrolled_at' | 'terminated_at'>

const HOUR = 3_600_000

/** What spot instances of ours have lived through since a moment, by our own record. */
export async function readLives(db: Kysely<Schema>, since: Instant, now: Instant): Promise<readonly Lived[]> {
  const running = db
    .selectFrom('instances')
    .where('life_cycle', '!=', 'on-demand')
    .where((e) => e.or([e('terminated_at', 'is', null), e('terminated_at', '>', since)]))
  const instances = await running
    .select(['id', 'pool_id', 'launched_at', 'enrolled_at', 'terminated_at'])
    .execute()
  // Of these instances alone: incidents are kept for ever.
  const notices = await db
    .selectFrom('spot_interruption_events')
    .select(['instance_id', 'detected_at', 'seen_via'])
    .where('signal_type', '=', 'termination-notice')
    .where('instance_id', 'in', running.select('id'))
    .orderBy('detected_at')
    .execute()
  return livesOf(instances, notices, since, now)
}

/**
 * When each instance ran, and whether AWS took it back. An instance runs from its launch, or from when it was first heard of, until
 * its notice, its end or `now`. A notice counts if AWS gave it and has not withdrawn it: an Auto Scaling group that ends an
 * instance is no interruption, and neither is an instance that was lost without a word, since nobody knows why.
 */
export function livesOf(
  instances: readonly RunRow[],
  notices: readonly NoticeRow[],
  since: Instant,
  now: Instant,
): readonly Lived[] {
  const noticed = new Map<string, number>()
  for (const notice of notices)
    if (isOfAws(notice) && !noticed.has(notice.instance_id))
      noticed.set(notice.instance_id, notice.detected_at)
  return instances.flatMap((row) => {
    const launchedAt = instant(Math.min(row.launched_at ?? row.enrolled_at, now))
    const ended = Math.min(row.terminated_at ?? now, now)
    const notice = noticed.get(row.id)
    const to = instant(notice === undefined ? ended : Math.min(notice, ended))
    const from = instant(Math.max(launchedAt, since))
    if (to < from) return []
    return [{ poolId: row.pool_id, launchedAt, from, to, interrupted: notice !== undefined }]
  })
}

function isOfAws({ seen_via: text }: NoticeRow): boolean {
  const vias = (JSON.parse(text) as { via: string }[]).map(({ via }) => via)
  return !vias.includes('withdrawn') && vias.some((via) => via !== 'auto-scaling')
}

/** By pool, for the rates. */
export function toHistory(
  lives: readonly Lived[],
  bandOf: (poolId: string) => InterruptionBand | null,
): readonly PoolHistory[] {
  return [...Map.groupBy(lives, ({ poolId }) => poolId)].map(([poolId, own]) => ({
    pool: parsePool(poolId),
    band: bandOf(poolId),
    instanceHours: own.reduce((sum, { from, to }) => sum + (to - from) / HOUR, 0),
    interruptions: own.filter(({ interrupted }) => interrupted).length,
  }))
}

/** By instance, for the multipliers. */
export const toLives = (lives: readonly Lived[], rateOf: (poolId: string) => number): readonly Life[] =>
  lives.map(({ poolId, launchedAt, from, to, interrupted }) => ({
    rate: rateOf(poolId),
    begins: (from / HOUR) % 24,
    ageHours: (from - launchedAt) / HOUR,
    hours: (to - from) / HOUR,
    interrupted,
  }))

/** The age of an instance; a machine whose clock is ahead was launched just now. */
export const ageAt = (launchedAt: Instant, now: Instant): Millis => Math.max(0, now - launchedAt) as Millis
