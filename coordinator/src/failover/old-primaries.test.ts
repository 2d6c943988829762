import { agentId, type InstanceId, incidentId, instanceId } from '@understudy/shared/core/ids'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { newFlight } from './flight.ts'
import { createOldPrimaries } from './old-primaries.ts'
import type { Entry } from './registry.ts'

const [agent, old] = [agentId('a'), instanceId('i-old')]

test('that an old primary is to be ended is not forgotten when the database is busy', async () => {
  const { clock, advance } = createVirtualTime()
  let busy = true
  const entry = { agentId: agent, dying: new Map<InstanceId, number>() } as unknown as Entry
  const oldPrimaries = createOldPrimaries({
    registry: { find: () => entry },
    fleet: {
      mustAgent: () =>
        busy
          ? Promise.reject(new Error('the database is busy'))
          : Promise.resolve({ terminate_after_switch: 1 } as never),
    },
    clock,
    log: pino({ level: 'silent' }),
  })
  const id = incidentId('5f0f3b1e-9d3c-4c9c-8a55-0d6c3c9f0b11')
  const incident = { id, trigger: 'planned', instance: old, by: undefined, keepOld: false } as const
  oldPrimaries.onClosed(agent, newFlight(incident, clock.mono(), 1, clock.mono()), 'promoted')
  await advance(5000)
  expect(entry.dying.size).toBe(0)
  busy = false
  await advance(2000)
  expect([...entry.dying.keys()]).toEqual([old])
})
