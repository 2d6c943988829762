import type { Pool } from './pool.ts'

/** Pools that share something, by number. */
export interface PoolGroups {
  /** For each pool the number of its group. */
  readonly of: Int32Array
  readonly count: number
}

/** The pools of one instance family (`c5`) in one region, which draw on the same machines. */
export function familyGroups(pools: readonly Pool[]): PoolGroups {
  const numbers = new Map<string, number>()
  const of = Int32Array.from(pools, (pool) => {
    const key = familyGroupOf(pool)
    const number = numbers.get(key) ?? numbers.size
    numbers.set(key, number)
    return number
  })
  return { of, count: numbers.size }
}

/** The name of that group: `c5@us-east-1`. */
export const familyGroupOf = (pool: Pool): string => `${familyOf(pool)}@${marketOf(pool)}`

/** `c5.large` → `c5`. */
export const familyOf = ({ instanceType }: Pick<Pool, 'instanceType'>): string =>
  instanceType.slice(0, instanceType.indexOf('.'))

/** The region, from a zone's name (`ap-south-1a`) or its id (`aps1-az1`). */
const marketOf = ({ availabilityZone }: Pool) => availabilityZone.replace(/(?<=\d)[a-z]$|-az\d+$/, '')

/** Writes to each pool the mean and the highest value of its group; pools without a value do not count. */
export function createGroupStatistics({ of, count }: PoolGroups) {
  const sum = new Float64Array(count)
  const known = new Int32Array(count)
  const highest = new Float64Array(count)
  return (values: Float64Array, mean: Float64Array, max: Float64Array): void => {
    sum.fill(0)
    known.fill(0)
    highest.fill(Number.NEGATIVE_INFINITY)
    for (let i = 0; i < of.length; i++) {
      const v = values[i] as number
      if (Number.isNaN(v)) continue
      const g = of[i] as number
      sum[g] = (sum[g] as number) + v
      known[g] = (known[g] as number) + 1
      if (v > (highest[g] as number)) highest[g] = v
    }
    for (let i = 0; i < of.length; i++) {
      const g = of[i] as number
      const any = (known[g] as number) > 0
      mean[i] = any ? (sum[g] as number) / (known[g] as number) : Number.NaN
      max[i] = any ? (highest[g] as number) : Number.NaN
    }
  }
}
