import {
  type Clock,
  hours,
  type Instant,
  instant,
  type Millis,
  type Mono,
  minutes,
} from '@understudy/shared/core/time'
import { learnTogether } from '@understudy/shared/interruption/co-interruption'
import {
  createInterruptionEstimator,
  type Estimate,
  type InterruptionEstimator,
} from '@understudy/shared/interruption/estimate'
import { type Multipliers, multipliersFrom, noMultipliers } from '@understudy/shared/interruption/multipliers'
import {
  createRateBook,
  type PoolHistory,
  type RateBook,
  type RateSource,
} from '@understudy/shared/interruption/rate-book'
import { type AfterSignal, probabilityAfterSignal } from '@understudy/shared/interruption/rebalance-posterior'
import { type InterruptionBand, type Pool, parsePool, poolId, regionOf } from '@understudy/shared/market/pool'
import { familyOf } from '@understudy/shared/market/pool-groups'
import type { Kysely, Schema } from '../storage/database.ts'
import { ageAt, type Lived, readLives, toHistory, toLives } from './own-history.ts'
import { createSignalLedger, type SignalLedger } from './signal-ledger.ts'

export type { SignalLedger, SignalRecord } from './signal-ledger.ts'

/** What the Spot Advisor, or a simulated region, says of a pool. */
interface KnownBand {
  readonly band: InterruptionBand
  readonly asOf: Instant
}

/** Which multipliers count: `docs/models.md` says why hour of day is not among them by default. */
export const multiplierChoices = ['none', 'age', 'age-and-hour'] as const
export type MultiplierChoice = (typeof multiplierChoices)[number]

export interface InstanceQuestion {
  readonly pool: Pool
  /** Undefined: as the catalog has it. */
  readonly band?: InterruptionBand | null | undefined
  /** Null: the pool as such. */
  readonly launchedAt: Instant | null
  /** In hours; 12 if not said. */
  readonly hours?: number
}

export interface InterruptionView extends Estimate {
  /** The same as `value` for 12 h. */
  readonly probability12h: number
  /** That it was made from. */
  readonly band: InterruptionBand | null
  /** In the pool, in the time that is looked at. */
  readonly own: { readonly instanceHours: number; readonly interruptions: number }
  /** What the estimate is made of, a sentence each. */
  readonly because: readonly string[]
}

/**
 * Interruptions of our own instances, and what they say of the next ones. The front door of this domain. What is read is kept for a
 * minute, so that a decision over hundreds of pools costs one look.
 */
export interface Interruptions {
  readonly ledger: SignalLedger
  /** P(interruption within 12 h) of pools, for one decision. */
  rates(): Promise<(pool: Pool, band: InterruptionBand | null) => number>
  /** P(an instance in the second pool is interrupted together with one in the first), by our own history. */
  together(): Promise<(a: Pool, b: Pool) => number>
  /** Of a pool, or of an instance in it. @throws AppError `input_invalid` */
  estimate(question: InstanceQuestion): Promise<InterruptionView>
  /** P(termination | AWS recommends a rebalance of an instance in this pool). */
  afterSignal(pool: Pool): Promise<AfterSignal>
}

/** What lies further back says little: spot capacity is another after a quarter. */
const LOOKED_AT = hours(90 * 24)
const KEPT = minutes(1)
const HORIZON_HOURS = 12

interface Known {
  readonly book: RateBook
  readonly estimator: InterruptionEstimator
  readonly own: ReadonlyMap<string, PoolHistory>
  /** Made when it is first asked for. */
  readonly together: () => (a: Pool, b: Pool) => number
}

export function createInterruptions(parts: {
  readonly db: Kysely<Schema>
  readonly clock: Clock
  /** Of these pools, where one is known. */
  readonly bandsOf: (pools: readonly Pool[]) => Promise<ReadonlyMap<string, KnownBand>>
  readonly multipliers: MultiplierChoice
}): Interruptions {
  const { db, clock, bandsOf, multipliers } = parts
  const ledger = createSignalLedger(db, clock)
  const known = kept(clock, read)
  const past = kept(clock, async () =>
    (await ledger.latest()).flatMap(({ poolId: id, outcome }) => {
      if (outcome !== 'followed' && outcome !== 'not_followed') return []
      return [{ ...placeOf(parsePool(id)), followed: outcome === 'followed' }]
    }),
  )

  async function read(): Promise<Known> {
    const now = clock.now()
    const lives = await readLives(db, instant(now - LOOKED_AT), now)
    const pools = [...new Set(lives.map(({ poolId: id }) => id))].map(parsePool)
    const bands = await bandsOf(pools)
    const history = toHistory(lives, (id) => bands.get(id)?.band ?? null)
    const book = createRateBook(history)
    return {
      book,
      estimator: createInterruptionEstimator(book, learnt(multipliers, lives, book, bands)),
      own: new Map(history.map((each) => [poolId(each.pool), each])),
      together: once(() => learnTogether(lives.map((life) => ({ ...life, pool: parsePool(life.poolId) })))),
    }
  }

  return {
    ledger,
    async rates() {
      const { estimator } = await known()
      const now = clock.now()
      return (pool, band) =>
        estimator.probability({ pool, band, bandAge: null, now, hours: HORIZON_HOURS, age: null })
    },
    together: async () => (await known()).together(),
    async estimate({ pool, band: given, launchedAt, hours: ahead = HORIZON_HOURS }) {
      const { estimator, own } = await known()
      const now = clock.now()
      const found = (await bandsOf([pool])).get(poolId(pool))
      const band = given === undefined ? (found?.band ?? null) : given
      const question = {
        pool,
        band,
        bandAge: found ? (Math.max(0, now - found.asOf) as Millis) : null,
        now,
        age: launchedAt === null ? null : ageAt(launchedAt, now),
      }
      const estimate = estimator.estimate({ ...question, hours: ahead })
      const { instanceHours = 0, interruptions = 0 } = own.get(poolId(pool)) ?? {}
      return {
        ...estimate,
        probability12h: estimator.probability({ ...question, hours: HORIZON_HOURS }),
        band,
        own: { instanceHours, interruptions },
        because: reasonsFor(estimate, pool),
      }
    },
    afterSignal: async (pool) => probabilityAfterSignal(await past(), placeOf(pool)),
  }
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

/** What was read is good for a minute; whoever asks meanwhile waits for the same reading, and a failure is not kept. */
function kept<T>(clock: Clock, read: () => Promise<T>): () => Promise<T> {
  let last: { readonly value: Promise<T>; readonly at: Mono } | undefined
  return () => {
    if (last && clock.mono() - last.at < KEPT) return last.value
    const reading = { value: read(), at: clock.mono() }
    last = reading
    reading.value.catch(() => {
      if (last === reading) last = undefined
    })
    return reading.value
  }
}

const placeOf = (pool: Pool) => ({ family: familyOf(pool), region: regionOf(pool.availabilityZone) })

function learnt(
  choice: MultiplierChoice,
  lives: readonly Lived[],
  book: RateBook,
  bands: ReadonlyMap<string, KnownBand>,
): Multipliers {
  if (choice === 'none') return noMultipliers
  const rates = new Map<string, number>()
  const rateOf = (id: string): number => {
    const seen = rates.get(id)
    if (seen !== undefined) return seen
    const { shape, hours: exposure } = book.rateOf(parsePool(id), bands.get(id)?.band ?? null)
    rates.set(id, shape / exposure)
    return shape / exposure
  }
  const both = multipliersFrom(toLives(lives, rateOf))
  return choice === 'age' ? { ...noMultipliers, age: both.age } : both
}

const NAMES: Readonly<Record<RateSource, (pool: Pool) => string>> = {
  spot_advisor: () => "the Spot Advisor's band",
  everywhere: () => 'own history everywhere',
  region: ({ availabilityZone }) => `own history in ${regionOf(availabilityZone)}`,
  family_in_region: (pool) => `own history of ${familyOf(pool)} in ${regionOf(pool.availabilityZone)}`,
  pool: () => 'own history of this pool',
}

function reasonsFor({ sources, multiplier }: Estimate, pool: Pool): string[] {
  const parts = sources.map(({ source, weight }) => `${(100 * weight).toFixed(1)} % ${NAMES[source](pool)}`)
  return multiplier === 1 ? parts : [...parts, `times ${multiplier.toFixed(2)} for age or hour of day`]
}
