import { AppError } from '@understudy/shared/core/app-error'
import { hours } from '@understudy/shared/core/time'
import type { RefreshRun } from '@understudy/shared/protocol/models'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { refreshWhenDue } from './refresh.ts'

test('a daily refresh is made a day after the start and after the last one, also over a restart, and one that fails stops nothing', async () => {
  const time = createVirtualTime()
  const made: number[] = []
  let busy = false
  const refresh = {
    last: () => Promise.resolve(made.at(-1)),
    run(trigger: string, actor: string) {
      if (busy) return Promise.reject(new AppError('busy', 'a refresh is under way'))
      expect([trigger, actor]).toEqual(['scheduled', 'coordinator'])
      made.push(time.clock.now())
      return Promise.resolve({ status: 'completed', detail: '' } as RefreshRun)
    },
  }
  const of = () => ({ began: time.clock.now(), clock: time.clock, log: pino({ level: 'silent' }) })
  let start = of()
  const look = () => refreshWhenDue(refresh, hours(24), start)
  await time.advance(hours(23))
  await look()
  expect(made).toEqual([])
  await time.advance(hours(1))
  busy = true
  await look()
  expect(made).toEqual([])
  busy = false
  await look()
  expect(made).toHaveLength(1)
  await time.advance(hours(23))
  start = of()
  await look()
  expect(made, 'a restart adds none').toHaveLength(1)
  await time.advance(hours(1))
  await look()
  expect(made, 'and puts none off').toHaveLength(2)
})
