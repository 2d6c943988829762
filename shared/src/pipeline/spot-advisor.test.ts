import { expect, test } from 'vitest'
import type { InterruptionBand } from '../market/pool.ts'
import { evaluate } from './pipeline.ts'
import { defaultPolicy } from './policy.ts'
import { inputOf, offer } from './testing.ts'

const bands: readonly (InterruptionBand | null)[] = [0, 1, 2, 3, 4, null]
const zones = ['a', 'b', 'c', 'd', 'e', 'f']

function dropped(maxInterruptRate?: number): { band: number; reason: string }[] {
  const offers = bands.map((band, i) =>
    offer('c5.large', 0.03, { band, availabilityZone: `ap-south-1${zones[i]}` }),
  )
  const policy = { ...defaultPolicy('CLUSTER_FULL'), ...(maxInterruptRate ? { maxInterruptRate } : {}) }
  const stage = evaluate(inputOf(offers, { policy })).trace.find((one) => one.stage === 'spot_advisor')
  return (stage?.dropped ?? []).map(({ id, reason }) => ({
    band: zones.indexOf(id.at(-1) ?? ''),
    reason: reason.replace(/^the Spot Advisor says that (.*) are interrupted a month$/, '$1'),
  }))
}

test('by default the last of five bands falls, and a type that is not known passes', () => {
  expect(dropped()).toEqual([{ band: 4, reason: 'over 20 %' }])
  expect(dropped(0.2)).toEqual(dropped())
})

test('the rate of the settings takes whole bands: those that begin at it or above', () => {
  expect(dropped(0.15)).toEqual([
    { band: 3, reason: '15 to 20 %' },
    { band: 4, reason: 'over 20 %' },
  ])
  expect(dropped(0.17).map(({ band }) => band)).toEqual([4])
  expect(dropped(0.05).map(({ band }) => band)).toEqual([1, 2, 3, 4])
  expect(dropped(1)).toEqual([])
})
