import { AppError } from '../core/app-error.ts'
import { parseZone, ZONE_PATTERN } from './zone.ts'

/** An instance type in an availability zone, product Linux/UNIX: what one spot price is for. */
export interface Pool {
  readonly instanceType: string
  readonly availabilityZone: string
}

/** Neither name is longer than 64 characters: no database takes an index entry of any length. */
const POOL = new RegExp(`^(?=[^@]{1,64}@[^@]{1,64}$)([a-z0-9-]+\\.[a-z0-9-]+)@(${ZONE_PATTERN})$`)

/** `c5.large@ap-south-1a`, the one spelling of a pool in ids, URLs and tables. */
export const poolId = (pool: Pool): string => `${pool.instanceType}@${pool.availabilityZone}`

/** @throws AppError `input_invalid` with the form that is expected */
export function parsePool(id: string): Pool {
  const match = POOL.exec(id)
  if (!match?.[1] || !match[2])
    throw new AppError('input_invalid', `"${id.slice(0, 80)}" is not a pool`, {
      hint: 'A pool is an instance type in an availability zone, such as c5.large@ap-south-1a.',
    })
  return { instanceType: match[1], availabilityZone: match[2] }
}

export const isPoolId = (id: string): boolean => POOL.test(id)

/** `us-east-1a` → `us-east-1`, `us-west-2-lax-1a` → `us-west-2`; what is not written like a zone stays as it is. */
export const regionOf = (availabilityZone: string): string =>
  parseZone(availabilityZone)?.region ?? availabilityZone

/**
 * The Spot Advisor's five bands of monthly interruption frequency, 0 (below 5 %) to 4 (above 20 %).
 * Source: the public Spot Advisor file, key `ranges`.
 */
export const interruptionBands = ['<5%', '5-10%', '10-15%', '15-20%', '>20%'] as const
export type InterruptionBand = 0 | 1 | 2 | 3 | 4
