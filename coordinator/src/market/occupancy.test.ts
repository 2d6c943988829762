import { instant } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { type MoveRow, occupancyOf, priceKeyOf, readPriceKey, type StayRow } from './occupancy.ts'

const stay = (id: string, from: number, to: number | null, cycle = 'spot'): StayRow => ({
  id,
  pool_id: `c5.large@us-east-1${id}`,
  life_cycle: cycle,
  launched_at: from,
  enrolled_at: from + 30,
  terminated_at: to,
})
const move = (epoch: number, from: string, to: string, at: number): MoveRow => ({
  epoch,
  old_instance_id: from,
  new_instance_id: to,
  switched_at: at,
})
const told = (...given: Parameters<typeof occupancyOf>) =>
  occupancyOf(...given).map(({ instanceId, from, to, role }) => `${instanceId} ${role} ${from}-${to}`)

test('without a move the primary of now has been it all the time, and its standby ran beside it', () => {
  const rows = [stay('a', 100, null), stay('b', 200, null)]
  expect(told(rows, [], 'a', instant(1000))).toEqual(['a primary 100-1000', 'b standby 200-1000'])
})

test('a move ends one term and begins the next, and the old primary runs on until it is ended', () => {
  const rows = [stay('a', 100, 700), stay('b', 200, null)]
  expect(told(rows, [move(3, 'a', 'b', 500)], 'b', instant(1000))).toEqual([
    'a primary 100-500',
    'a standby 500-700',
    'b standby 200-500',
    'b primary 500-1000',
  ])
})

test('there and back again: each term is one of its own', () => {
  const rows = [stay('a', 0, null), stay('b', 0, null)]
  const moves = [move(5, 'b', 'a', 600), move(3, 'a', 'b', 300)]
  expect(told(rows, moves, 'a', instant(900))).toEqual([
    'a primary 0-300',
    'a standby 300-600',
    'a primary 600-900',
    'b standby 0-300',
    'b primary 300-600',
    'b standby 600-900',
  ])
})

test('an instance without a launch time runs from when it was first heard of', () => {
  expect(told([{ ...stay('a', 100, 400), launched_at: null }], [], 'a', instant(900))).toEqual([
    'a primary 130-400',
  ])
})

test('what was bought on demand is priced as that', () => {
  const key = priceKeyOf(stay('a', 0, null, 'on-demand'))
  expect(readPriceKey(key)).toEqual({ pool: 'c5.large@us-east-1a', onDemand: true })
  expect(readPriceKey(priceKeyOf(stay('a', 0, null)))).toEqual({
    pool: 'c5.large@us-east-1a',
    onDemand: false,
  })
})
