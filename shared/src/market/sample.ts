import { type MicroUsd, microUsd, parseUsd, toUsd } from '../core/money.ts'
import { type Instant, instant } from '../core/time.ts'
import { isPoolId, type Pool, parsePool } from './pool.ts'
import { parseTimestamp, type TimeRefusal } from './timestamp.ts'

/** A price that was seen: what a pool cost at a moment. */
export interface Sample {
  readonly poolId: string
  readonly at: Instant
  readonly price: MicroUsd
}

export const refusalCodes = [
  'pool_malformed',
  'zone_unknown',
  'instance_type_unknown',
  'time_malformed',
  'time_without_zone',
  'time_in_future',
  'time_too_old',
  'price_not_a_number',
  'price_zero',
  'price_negative',
  'price_implausible',
] as const
export type RefusalCode = (typeof refusalCodes)[number]

/** Why one row was not taken, as one sentence that says what was expected. The other rows are kept. */
export interface Refusal {
  readonly code: RefusalCode
  readonly reason: string
}

/** A row as it came from outside: nothing about it is known. */
export interface GivenSample {
  readonly pool: unknown
  /** RFC 3339 with its offset, or UTC milliseconds. */
  readonly at: unknown
  /** Dollars per hour, as a number or as an exact decimal. */
  readonly price: unknown
}

/** A row of a submission, whatever it may be: what is missing is found missing by `checkSample`. */
export function givenFrom(row: unknown): GivenSample {
  const {
    pool_id: pool,
    at,
    price,
  } = (typeof row === 'object' && row !== null ? row : {}) as {
    [field: string]: unknown
  }
  return { pool, at, price }
}

/** What a row is measured against. `undefined` means not known, and nothing is refused for it. */
export interface Known {
  readonly now: Instant
  /** Before which nothing is taken from this sender; without it, before the first spot price of all. */
  readonly since?: Instant
  isKnownZone(availabilityZone: string): boolean | undefined
  isKnownType?(instanceType: string): boolean | undefined
  onDemand(pool: Pool): MicroUsd | undefined
}

/** How far the clock of a sender may run ahead of ours, in milliseconds. */
const CLOCK_SKEW = 300_000
/** The day on which EC2 began to sell spot instances. */
const FIRST_SPOT = Date.UTC(2009, 11, 14)
/** A spot price above this many times on-demand is a mistake of unit, not a price. */
const TIMES_ON_DEMAND = 10
/** The same where no on-demand price is known: no instance costs 1,000 USD per hour. */
const MOST = microUsd(1_000_000_000)

/** Takes a row or says why not. The first thing that is wrong is the one that is named. */
export function checkSample(given: GivenSample, known: Known): Sample | Refusal {
  const pool = checkPool(given.pool, known)
  if ('code' in pool) return pool
  const at = checkTime(given.at, known)
  if (typeof at !== 'number') return at
  const price = checkPrice(given.price, known.onDemand(pool.pool))
  return typeof price === 'number' ? { poolId: pool.id, at, price } : price
}

export const isRefusal = (checked: object): checked is Refusal => 'code' in checked && 'reason' in checked

function checkPool(given: unknown, known: Known): { id: string; pool: Pool } | Refusal {
  if (typeof given !== 'string' || !isPoolId(given))
    return refuse(
      'pool_malformed',
      `${shown(given)} is not a pool: an instance type in an availability zone, such as c5.large@ap-south-1a`,
    )
  const pool = parsePool(given)
  if (known.isKnownZone(pool.availabilityZone) === false)
    return refuse('zone_unknown', `there is no availability zone ${pool.availabilityZone} in this account`)
  if (known.isKnownType?.(pool.instanceType) === false)
    return refuse('instance_type_unknown', `EC2 has no instance type ${pool.instanceType}`)
  return { id: given, pool }
}

function checkTime(given: unknown, { now, since }: Known): Instant | Refusal {
  const at = readTime(given)
  if (typeof at !== 'number') return at
  if (at > now + CLOCK_SKEW)
    return refuse(
      'time_in_future',
      `${iso(at)} is ${Math.ceil((at - now) / 60_000)} minutes ahead of the coordinator's clock; check the sender's`,
    )
  if (at < FIRST_SPOT)
    return refuse(
      'time_too_old',
      `${iso(at)} is before 2009-12-14, when spot prices began; are these seconds instead of milliseconds?`,
    )
  if (since !== undefined && at < since)
    return refuse(
      'time_too_old',
      `${iso(at)} is too long ago: nothing before ${iso(since)} is taken from agents; import a file of what is older`,
    )
  return at
}

/** The most that a `Date` can hold, in milliseconds on both sides of 1970. */
const LAST_DATE = 8.64e15

function readTime(given: unknown): Instant | TimeRefusal {
  if (typeof given === 'string') return parseTimestamp(given)
  if (typeof given === 'number' && Number.isInteger(given) && Math.abs(given) <= LAST_DATE)
    return instant(given)
  return {
    code: 'time_malformed',
    reason: `${shown(given)} is not a time: give text such as 2025-11-20T10:05:00Z, or UTC milliseconds`,
  }
}

function checkPrice(given: unknown, onDemand: MicroUsd | undefined): MicroUsd | Refusal {
  const price = typeof given === 'number' || typeof given === 'string' ? parseUsd(given) : undefined
  if (price === undefined)
    return refuse(
      'price_not_a_number',
      `${shown(given)} is not a price: give US dollars per hour, such as 0.0416 or "0.0416"`,
    )
  if (price < 0) return refuse('price_negative', `${shown(given)} is below zero, which no price is`)
  if (price === 0)
    return refuse(
      'price_zero',
      `${shown(given)} is no price: a pool without one has no row, not a row with 0`,
    )
  const most = onDemand === undefined ? MOST : onDemand * TIMES_ON_DEMAND
  if (price <= most) return price
  return refuse(
    'price_implausible',
    `${shown(given)} USD per hour is more than ${
      onDemand === undefined
        ? 'any instance costs'
        : `${TIMES_ON_DEMAND} times the on-demand price of ${toUsd(onDemand)}`
    }; prices are given in US dollars per hour`,
  )
}

const refuse = (code: RefusalCode, reason: string): Refusal => ({ code, reason })

const iso = (at: Instant): string => new Date(at).toISOString()

/** What was given, short enough for a sentence. */
function shown(given: unknown): string {
  if (typeof given === 'string') return JSON.stringify(given.slice(0, 80))
  if (typeof given === 'number' || typeof given === 'boolean' || given === null || given === undefined)
    return String(given)
  return Array.isArray(given) ? 'a list' : 'an object'
}
