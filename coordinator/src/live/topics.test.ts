import { AppError } from '@understudy/shared/core/app-error'
import { millis } from '@understudy/shared/core/time'
import type { AgentView } from '@understudy/shared/protocol/agents'
import type { LiveFrame } from '@understudy/shared/protocol/live'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createTopics } from './topics.ts'

test('a view that fails keeps no other agent away, and is tried again; one that is gone is not', async () => {
  const time = createVirtualTime()
  const warned: string[] = []
  const asked: string[] = []
  const broken = new Map<string, Error>([
    ['busy', new Error('the database is busy')],
    ['gone', new AppError('not_found', 'there is no agent gone')],
  ])
  const topics = createTopics({
    ...{ clock: time.clock, version: '1', mode: 'serve' },
    log: pino({ level: 'warn' }, { write: (line) => void warned.push(JSON.parse(line).agent) }),
    agentView: async (id) => {
      asked.push(id)
      const error = broken.get(id)
      if (error) throw error
      return { id } as AgentView
    },
  })
  const frames: LiveFrame[] = []
  topics.subscribe({
    send: (text) => void frames.push(JSON.parse(text) as LiveFrame),
    close: () => undefined,
    bufferedAmount: 0,
  })
  const stop = new AbortController()
  const running = topics.run(stop.signal)
  await time.advance(millis(400))
  for (const id of ['busy', 'gone', 'behind']) topics.touchAgent(id)
  await time.advance(millis(400))
  const shown = () =>
    frames.flatMap((frame) => ('content' in frame ? Object.keys(frame.content.agents ?? {}) : []))
  expect(shown()).toEqual(['behind'])
  broken.clear()
  await time.advance(millis(400))
  expect(shown()).toEqual(['behind', 'busy'])
  expect(warned.sort(), 'once each').toEqual(['busy', 'gone'])
  expect(asked.filter((id) => id === 'gone')).toHaveLength(1)
  stop.abort()
  await running
})
