import { expect, test } from 'vitest'
import { isPoolId, parsePool, poolId, regionOf } from './pool.ts'

test('a pool has one spelling', () => {
  const pool = parsePool('c5.large@ap-south-1a')
  expect(pool).toEqual({ instanceType: 'c5.large', availabilityZone: 'ap-south-1a' })
  expect(poolId(pool)).toBe('c5.large@ap-south-1a')
  expect(regionOf(pool.availabilityZone)).toBe('ap-south-1')
  expect(parsePool('u-6tb1.56xlarge@us-gov-west-1b').availabilityZone).toBe('us-gov-west-1b')
})

test.each(['', 'c5.large', 'c5.large@', 'c5@us-east-1a', 'c5.large@us-east-1', "c5.large@us-east-1a'; --"])(
  '%j is not a pool',
  (id) => {
    expect(isPoolId(id)).toBe(false)
    expect(() => parsePool(id)).toThrow('is not a pool')
  },
)
