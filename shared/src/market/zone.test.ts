import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isAppError } from '../core/app-error.ts'
import { isPoolId, parsePool, regionOf } from './pool.ts'
import { isZone, isZoneId, parseZone, regionOfZoneId, zoneNames } from './zone.ts'

test.each([
  ['us-east-1a', 'us-east-1', 'availability'],
  ['ap-southeast-5c', 'ap-southeast-5', 'availability'],
  ['us-gov-west-1b', 'us-gov-west-1', 'availability'],
  ['cn-northwest-1a', 'cn-northwest-1', 'availability'],
  ['eusc-de-east-1a', 'eusc-de-east-1', 'availability'],
  ['us-west-2-lax-1a', 'us-west-2', 'local'],
  ['us-east-1-atl-2a', 'us-east-1', 'local'],
  ['ap-southeast-2-wlg-1a', 'ap-southeast-2', 'local'],
  ['us-east-1-wl1-bos-wlz-1', 'us-east-1', 'wavelength'],
  ['ap-northeast-1-wl1-nrt-wlz-1', 'ap-northeast-1', 'wavelength'],
])('%s is in %s, an %s zone', (name, region, kind) => {
  expect(parseZone(name)).toEqual({ name, region, kind })
  expect(regionOf(name)).toBe(region)
  expect(parsePool(`c5.large@${name}`)).toEqual({ instanceType: 'c5.large', availabilityZone: name })
})

test.each([
  'us-east-1',
  'us-east-1A',
  'us-east-0a',
  'useast-1a',
  'us-west-2-lax-1',
  'us-west-2-lax-a',
  'us-west-2-losangeles-1a',
  'us-east-1-wl1-bos-wlz',
  'use1-az1',
  'us-east-1a ',
  'us-east-1a\n',
  '',
])('%j is no zone', (name) => {
  expect(isZone(name)).toBe(false)
  expect(isPoolId(`c5.large@${name}`)).toBe(false)
})

test.each([
  ['use1-az6', 'us-east-1'],
  ['aps1-az1', 'ap-south-1'],
  ['apse2-az3', 'ap-southeast-2'],
  ['apne1-az4', 'ap-northeast-1'],
  ['euc1-az2', 'eu-central-1'],
  ['usgw1-az1', 'us-gov-west-1'],
  ['cnnw1-az2', 'cn-northwest-1'],
  ['use1-atl2-az1', 'us-east-1'],
  ['usw2-lax1-az2', 'us-west-2'],
  ['use1-wl1-bos-wlz1', 'us-east-1'],
])('the zone with id %s is in %s', (id, region) => {
  expect(isZoneId(id)).toBe(true)
  expect(regionOfZoneId(id)).toBe(region)
})

test('an id whose region follows no rule we know is an id without a region', () => {
  expect(isZoneId('xyz1-az1')).toBe(true)
  expect(regionOfZoneId('xyz1-az1')).toBeUndefined()
  for (const wrong of ['us-east-1a', 'use1', 'use1-az', 'use1-az0', 'use1-az1 ', ''])
    expect([isZoneId(wrong), regionOfZoneId(wrong)]).toEqual([false, undefined])
})

test('a zone is found by either name', () => {
  const zones = zoneNames([
    { name: 'us-east-1a', id: 'use1-az4' },
    { name: 'us-east-1b', id: 'use1-az6' },
    { name: 'us-east-1a', id: 'use1-az4' },
  ])
  expect([zones.idOf('us-east-1a'), zones.nameOf('use1-az6')]).toEqual(['use1-az4', 'us-east-1b'])
  expect([zones.idOf('us-east-1c'), zones.nameOf('use1-az1')]).toEqual([undefined, undefined])
})

test.each([
  [{ name: 'us-east-1a', id: 'use1-az2' }, 'us-east-1a is both use1-az1 and use1-az2'],
  [{ name: 'us-east-1b', id: 'use1-az1' }, 'use1-az1 is both us-east-1a and us-east-1b'],
  [{ name: 'us-east-2a', id: 'use1-az2' }, 'use1-az2 is in us-east-1, us-east-2a in us-east-2'],
  [{ name: 'use1-az2', id: 'us-east-1b' }, '"use1-az2" is not a zone such as us-east-1a'],
  [{ name: 'us-east-1b', id: 'b' }, '"b" is not a zone id such as use1-az1'],
])('%j beside us-east-1a = use1-az1 is refused', (zone, message) => {
  const thrown = (() => {
    try {
      return zoneNames([{ name: 'us-east-1a', id: 'use1-az1' }, zone])
    } catch (error) {
      return error
    }
  })()
  expect(isAppError(thrown, 'input_invalid') && thrown.errors).toEqual([{ pointer: '/1', message }])
})

test('names and ids that belong together map there and back', () => {
  const account = fc.shuffledSubarray(['a', 'b', 'c', 'd', 'e', 'f'], { minLength: 1 })
  fc.assert(
    fc.property(account, (letters) => {
      const pairs = letters.map((letter, i) => ({ name: `us-east-1${letter}`, id: `use1-az${i + 1}` }))
      const zones = zoneNames(pairs)
      for (const { name, id } of pairs) expect([zones.idOf(name), zones.nameOf(id)]).toEqual([id, name])
    }),
  )
})
