import { agentId, instanceId } from '@understudy/shared/core/ids'
import { type Clock, instant, mono } from '@understudy/shared/core/time'
import type { Heartbeat, Hello } from '@understudy/shared/protocol/link'
import { expect, test } from 'vitest'
import { createPresenceBook } from './presence.ts'

const instance = instanceId('i-aaa')

/** What the book says of the other clock, after messages that took so long. The other clock reads 1000 less than ours. */
function offsetAfter(delays: readonly number[], rebootAt?: number): number | undefined {
  let now = 5000
  const clock = { mono: () => mono(now), now: () => instant(now) } as Clock
  const book = createPresenceBook(clock)
  delays.forEach((delay, index) => {
    const zero = rebootAt !== undefined && index >= rebootAt ? 4000 : 1000
    const sentAt = mono(now - zero)
    now += delay
    if (index === 0 || index === rebootAt)
      book.greeted(instance, agentId('a'), { boot: `boot-${zero}`, sentAt } as Hello)
    else book.heard(instance, { sentAt, role: 'replica', progress: null } as unknown as Heartbeat)
    now += 500
  })
  return book.get(instance)?.clockOffset
}

test('the clock of an instance is read from the message that came fastest', () => {
  expect(offsetAfter([40, 3, 25, 60])).toBe(1003)
})

test('a clock that drifts is followed: only the last twenty messages count', () => {
  expect(offsetAfter([1, ...Array.from({ length: 20 }, () => 9)])).toBe(1009)
})

test('another process of the instance counts from another zero', () => {
  expect(offsetAfter([5, 5, 8, 7], 2)).toBe(4007)
})
