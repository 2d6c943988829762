import { messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, hours, type Instant, instant } from '@understudy/shared/core/time'
import { isPoolId, regionOf } from '@understudy/shared/market/pool'
import { sql } from 'kysely'
import type { Logger } from 'pino'
import type { Kysely, Schema } from '../storage/database.ts'
import type { Backfill } from './backfill.ts'
import { planDaily, type TypeInUse } from './daily-plan.ts'

/** How often it is looked whether a day has gone by: a new fleet waits no longer for its first history. */
const LOOK = hours(1)
const DAY = hours(24)
const REACH = hours(24 * 90)

/**
 * Queues a backfill once a day for the types in use in each region: those of the instances there, and of every pool of
 * which something is known. The fetches are the record of when that was, so a restart asks for nothing twice. Run by one
 * coordinator at a time.
 */
export function createDailyBackfill(parts: {
  readonly db: Kysely<Schema>
  readonly regions: readonly string[]
  /** False: EC2 has no such type any more, and nothing is asked about it. */
  readonly isKnownType: (instanceType: string) => boolean | undefined
  readonly startFetch: Backfill['startFetch']
  readonly clock: Clock
  readonly log: Logger
}): Service {
  const { db, regions, isKnownType, startFetch, clock, log } = parts

  /** A day after the last one was queued, unless one is still at work. */
  async function isDue(now: Instant): Promise<boolean> {
    const row = await db
      .selectFrom('price_fetches')
      .select('id')
      .where('kind', '=', 'backfill')
      .where((e) => e.or([e('created_at', '>', now - DAY), e('status', 'in', ['queued', 'running'])]))
      .limit(1)
      .executeTakeFirst()
    return row === undefined
  }

  async function tick(): Promise<void> {
    const now = clock.now()
    if (!(await isDue(now))) return
    const inUse = (await readInUse(db, regions, now)).filter(
      (type) => isKnownType(type.instanceType) !== false,
    )
    for (const request of planDaily(inUse, now)) {
      const { id, total } = await startFetch(request, 'backfill')
      log.info({ event: 'backfill.daily', fetch: id, parts: total, from: request.from })
    }
  }

  return {
    name: 'daily-backfill',
    run: (signal) =>
      everyPeriod(clock, LOOK, signal, async () => {
        try {
          await tick()
        } catch (error) {
          if (!signal.aborted)
            log.error({ event: 'backfill.daily_failed', why: messageOf(error), err: error })
        }
      }),
  }
}

/** Every type of which something is known in these regions; `lacks` and `until` say whether it still is in use. */
export async function readInUse(
  db: Kysely<Schema>,
  regions: readonly string[],
  now: Instant,
): Promise<readonly TypeInUse[]> {
  const since = now - REACH
  const instances = await db
    .selectFrom('instances')
    .select(['instance_type', 'availability_zone', 'pool_id'])
    .where('terminated_at', 'is', null)
    .execute()
  const { rows: pools } = await sql<PoolCoverage>`
    select pool_id, instance_type, region,
      (select max(to_at) from price_coverage where pool = pools.id and to_at > ${since}) as until,
      (select max(at) from pricing_snapshots_clean where pool = pools.id and at > ${since}) as sampled
    from pools where region in (${sql.join(regions)})`.execute(db)
  const known = new Set(pools.map(({ pool_id }) => pool_id))
  // An instance whose pool nobody has sampled yet.
  const rest = instances
    .filter(({ pool_id }) => !known.has(pool_id) && isPoolId(pool_id))
    .map(({ instance_type, availability_zone, pool_id }) => ({
      pool_id,
      instance_type,
      region: regionOf(availability_zone),
      until: null,
      sampled: now,
    }))
    .filter(({ region }) => regions.includes(region))
  const used = new Set(instances.map(({ pool_id }) => pool_id))
  const types = Map.groupBy([...pools, ...rest], ({ region, instance_type }) => `${region} ${instance_type}`)
  return [...types.values()].map((own) => typeOf(own as [PoolCoverage], used))
}

interface PoolCoverage {
  readonly pool_id: string
  readonly instance_type: string
  readonly region: string
  /** Of the last 90 days. */
  readonly until: number | null
  readonly sampled: number | null
}

const typeOf = (pools: readonly [PoolCoverage, ...PoolCoverage[]], used: ReadonlySet<string>): TypeInUse => ({
  instanceType: pools[0].instance_type,
  region: pools[0].region,
  until: pools.flatMap(({ until }) => (until === null ? [] : [instant(until)])),
  lacks: pools.some(
    ({ pool_id, until, sampled }) => until === null && (sampled !== null || used.has(pool_id)),
  ),
})
