import { isAppError } from '@understudy/shared/core/app-error'
import { instant } from '@understudy/shared/core/time'
import type { WatchRequest } from '@understudy/shared/protocol/readings'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { questionOf } from './question.ts'
import { readingKinds } from './reading-kinds.ts'

const NOW = instant(Date.parse('2026-11-22T01:23:45.678Z'))
const watch = (wish: Omit<WatchRequest, 'type' | 'id'>): WatchRequest => ({ type: 'watch', id: 1, ...wish })
const pathOf = (wish: Omit<WatchRequest, 'type' | 'id'>) => questionOf(watch(wish)).pathAt(NOW)

function refusal(wish: Omit<WatchRequest, 'type' | 'id'>) {
  try {
    questionOf(watch(wish))
  } catch (error) {
    if (isAppError(error)) return [error.code, error.errors.map(({ pointer }) => pointer).join()]
  }
  return undefined
}

test('a reading is a GET of the API, with what it takes', () => {
  expect(pathOf({ name: 'receivers' })).toBe('/api/notifications/receivers')
  expect(pathOf({ name: 'audit', query: { limit: '5', actor: 'a&b=c' } })).toBe(
    '/api/audit?actor=a%26b%3Dc&limit=5',
  )
  expect(pathOf({ name: 'pool-risk', params: { id: 'm5.large@us-east-1a/x?y' } })).toBe(
    '/api/pools/m5.large%40us-east-1a%2Fx%3Fy/risk',
  )
})

test('a span of time ends now, rounded so that pages which ask the same get the same', () => {
  const prices = { name: 'pool-prices', params: { id: 'a' }, query: { points: '9' }, hours: 24 }
  const of = (from: string, to: string) => new URLSearchParams({ from, to }).toString()
  expect(pathOf(prices)).toBe(
    `/api/pools/a/pricing?${of('2026-11-21T01:25:00.000Z', '2026-11-22T01:25:00.000Z')}&points=9`,
  )
  expect(pathOf({ name: 'savings', hours: 720 })).toBe(
    `/api/savings?${of('2026-10-23T01:23:00.000Z', '2026-11-22T01:23:00.000Z')}`,
  )
})

test('the same is asked only by who asks the same', () => {
  const keyOf = (wish: Omit<WatchRequest, 'type' | 'id'>) => questionOf(watch(wish)).key
  expect(keyOf({ name: 'audit', query: { actor: 'a', limit: '5' } })).toBe(
    keyOf({ name: 'audit', query: { limit: '5', actor: 'a' } }),
  )
  const others = [
    keyOf({ name: 'savings', hours: 24 }),
    keyOf({ name: 'savings', hours: 25 }),
    keyOf({ name: 'audit' }),
    keyOf({ name: 'audit', query: { actor: 'a' } }),
    keyOf({ name: 'drills', params: { id: 'a' } }),
    keyOf({ name: 'drills', params: { id: 'b' } }),
  ]
  expect(new Set(others).size).toBe(others.length)
})

test.each([
  ['a name that is none', { name: 'toString' }, ['not_found', '']],
  ['a param that it does not have', { name: 'pools', params: { id: 'a' } }, ['input_invalid', '/params/id']],
  ['a param that is missing', { name: 'drills' }, ['input_invalid', '/params/id']],
  ['another path', { name: 'drills', params: { id: '..' } }, ['input_invalid', '/params/id']],
  ['no path', { name: 'drills', params: { id: '' } }, ['input_invalid', '/params/id']],
  ['half a character', { name: 'drills', params: { id: '\ud800' } }, ['input_invalid', '/params/id']],
  ['a key of its query', { name: 'pools', query: { cursor: 'x' } }, ['input_invalid', '/query/cursor']],
  ['hours that it does not take', { name: 'pools', hours: 5 }, ['input_invalid', '/hours']],
  ['no hours', { name: 'savings' }, ['input_invalid', '/hours']],
])('%s is refused', (_, wish, why) => expect(refusal(wish)).toEqual(why))

test('whatever a page says, only the path of the reading is asked', () => {
  const withId = Object.entries(readingKinds).filter(([, { path }]) => path.includes('{id}'))
  fc.assert(
    fc.property(fc.constantFrom(...withId), fc.string({ unit: 'binary' }), ([name, kind], id) => {
      const wish = { name, params: { id }, ...(kind.span ? { hours: 1 } : {}) }
      if (refusal(wish)) return
      const { pathname } = new URL(pathOf(wish), 'http://localhost')
      const [before = '', after = ''] = kind.path.split('{id}')
      expect([pathname.startsWith(before), pathname.endsWith(after)]).toEqual([true, true])
      expect(pathname.split('/').length).toBe(kind.path.split('/').length)
    }),
  )
})
