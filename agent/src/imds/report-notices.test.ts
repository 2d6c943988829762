import { type Mono, millis, mono, plus } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { reportNotices } from './report-notices.ts'

test.each([
  ['two minutes ahead ends then', 120_000, 120_000],
  ['that is now leaves five seconds', 0, 5000],
  ['that is over leaves five seconds', -30_000, 5000],
])('an instance with a notice whose time is %s', async (_, ahead, left) => {
  const { clock, advance } = createVirtualTime()
  await advance(1000)
  const ends: Mono[] = []
  const { onInterruption } = reportNotices({
    report: () => undefined,
    onOpen: (_notice, end) => void ends.push(end),
    onWithdrawn: () => undefined,
    remember: () => undefined,
    clock,
    log: pino({ level: 'silent' }),
  })
  const time = plus(clock.now(), millis(ahead))
  onInterruption({ id: 'interruption-1', action: 'hibernate', time, firstSeen: mono(0) }, 'new')
  expect(ends).toEqual([mono(1000 + left)])
})
