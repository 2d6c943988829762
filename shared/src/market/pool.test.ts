import { expect, test } from 'vitest'
import { isPoolId, parsePool, poolId, regionOf } from './pool.ts'

test('a pool has one spelling', () => {
  const pool = parsePool('c5.large@ap-south-1a')
  expect(pool).toEqual({ instanceType: 'c5.large', availabilityZone: 'ap-south-1a' })
  expect(poolId(pool)).toBe('c5.large@ap-south-1a')
  expect(regionOf(pool.availabilityZone)).toBe('ap-south-1')
  expect(parsePool('u-6tb1.56xlarge@us-gov-west-1b').availabilityZone).toBe('us-gov-west-1b')
})

test('neither name of a pool is longer than 64 characters', () => {
  const type = (length: number) => `c5.${'x'.repeat(length - 3)}`
  const zone = (length: number) => `us-${'x'.repeat(length - 6)}-1a`
  expect(isPoolId(`${type(64)}@${zone(64)}`)).toBe(true)
  expect(isPoolId(`${type(65)}@us-east-1a`)).toBe(false)
  expect(isPoolId(`c5.large@${zone(65)}`)).toBe(false)
  expect(isPoolId(`${type(8000)}@us-east-1a`)).toBe(false)
})

test.each(['', 'c5.large', 'c5.large@', 'c5@us-east-1a', 'c5.large@us-east-1', "c5.large@us-east-1a'; --"])(
  '%j is not a pool',
  (id) => {
    expect(isPoolId(id)).toBe(false)
    expect(() => parsePool(id)).toThrow('is not a pool')
  },
)
