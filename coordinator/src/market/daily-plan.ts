import { hours, type Instant, instant } from '@understudy/shared/core/time'
import type { FetchRequest } from './backfill-plan.ts'

/** An instance type in a region in which it is used, or in which a price of it is known. */
export interface TypeInUse {
  readonly instanceType: string
  readonly region: string
  /** Of each of its pools that has history from the last 90 days: until when it is complete. */
  readonly until: readonly Instant[]
  /** A pool of it that is in use or has been sampled has no history from the last 90 days. */
  readonly lacks: boolean
}

const DAY = hours(24)
/** What EC2 keeps, in days. */
const REACH = 90

/**
 * What the daily backfill asks for: each type from the end of its coverage on, or 90 days where there is none. Types of a
 * region with gaps of as many days are one fetch. A pool without history is not asked for again and again when nobody uses
 * it: EC2 does not sell it any more.
 */
export function planDaily(inUse: readonly TypeInUse[], now: Instant): FetchRequest[] {
  const requests = Map.groupBy(inUse, (type) => `${type.region} ${daysOf(type, now)}`)
  return [...requests.values()].map((types) => {
    const [first] = types as [TypeInUse]
    return {
      instanceTypes: [...new Set(types.map(({ instanceType }) => instanceType))].sort(),
      regions: [first.region],
      from: instant(now - daysOf(first, now) * DAY),
      to: now,
    }
  })
}

function daysOf({ until, lacks }: TypeInUse, now: Instant): number {
  if (lacks || until.length === 0) return REACH
  return Math.min(REACH, Math.max(1, Math.ceil((now - Math.min(...until)) / DAY)))
}
