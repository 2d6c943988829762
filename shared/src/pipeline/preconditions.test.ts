import { expect, test } from 'vitest'
import { hours, instant } from '../core/time.ts'
import { isVoluntary, objectionTo, type StandingNow } from './preconditions.ts'
import { NOW, orderOf, standingOf } from './testing.ts'

test('nothing has changed: nothing speaks against it', () => {
  expect(objectionTo(orderOf(), standingOf())).toBeUndefined()
})

const changes: readonly (readonly [Partial<StandingNow>, string])[] = [
  [{ primary: 'i-0other' }, 'i-0other is primary of shop by now, not i-0primary'],
  [{ primary: null }, 'shop has no primary now'],
  [{ epoch: 4 }, 'shop is at epoch 4, and it was decided at epoch 3'],
  [{ term: 4, epoch: 4 }, 'shop is at epoch 4, and it was decided at epoch 3'],
  [{ enabled: false }, 'decisions for shop are switched off'],
  [{ autoSwitch: false }, 'automatic switches of shop are off'],
  [{ level: 'dry_run' }, 'the level of shop is dry_run by now'],
  [{ openIncident: 'x' }, 'the incident x of shop is not over'],
  [{ movesLeft: 0 }, 'as many moves as the budget allows are under way'],
  [{ targetPrice: null }, 'no price of m5.large@ap-south-1b is known any more'],
  [
    { targetPrice: { usd: 0.04, at: NOW } },
    'm5.large@ap-south-1b costs $0.0100 an hour more by now, which eats the gain',
  ],
  [
    { voluntaryMoves: { allowed: false, reason: 'the scores drift' } },
    'voluntary moves are off: the scores drift',
  ],
]
test.each(changes)('a switch is not made with %j', (change, objection) => {
  expect(objectionTo(orderOf(), standingOf(change))).toBe(objection)
})

test('a price that is too old is no price; one of a moment ago is', () => {
  const at = instant(NOW - hours(7))
  expect(objectionTo(orderOf(), standingOf({ targetPrice: { usd: 0.03, at } }))).toContain('too long ago')
  expect(objectionTo(orderOf(), standingOf({ targetPrice: { usd: 0.0399, at: NOW } }))).toBeUndefined()
})

test('a move that has failed is not tried again for six hours; what has begun goes on', () => {
  const failed = standingOf({ lastFailure: instant(NOW - hours(5)) })
  expect(objectionTo(orderOf(), failed)).toContain('its move to m5.large@ap-south-1b failed at')
  expect(objectionTo(orderOf(), failed, true)).toBeUndefined()
  expect(objectionTo(orderOf(), standingOf({ lastFailure: instant(NOW - hours(6)) }))).toBeUndefined()
})

test('an unsafe pool is left though the other one has become dearer', () => {
  const dearer = standingOf({ targetPrice: { usd: 0.09, at: NOW } })
  expect(objectionTo(orderOf({ code: 'UNSAFE', gainUsd: -0.01 }), dearer)).toBeUndefined()
})

test('without a model nothing moves of its own accord, whatever else holds', () => {
  expect(objectionTo(orderOf({ riskSource: 'ADVISOR_FALLBACK' }), standingOf())).toContain('without a model')
})

test('what has begun has its budget, and its own replica may have changed the votes; another primary ends it', () => {
  const begun = (more: Partial<StandingNow>) => objectionTo(orderOf(), standingOf(more), true)
  expect(begun({ epoch: 4, movesLeft: 0 })).toBeUndefined()
  expect(begun({ epoch: 4, term: 4 })).toContain('at epoch 4')
  expect(begun({ autoSwitch: false })).toContain('are off')
})

test('a signal of AWS asks neither for budget nor for permission to move', () => {
  const order = orderOf({ kind: 'EVACUATE', decision: 'EVACUATE', riskSource: 'ADVISOR_FALLBACK' })
  expect(isVoluntary(order)).toBe(false)
  expect(
    objectionTo(order, standingOf({ openIncident: 'x', autoSwitch: false, movesLeft: 0 })),
  ).toBeUndefined()
  expect(objectionTo(order, standingOf({ primary: 'i-0other' }))).toContain('is primary')
})
