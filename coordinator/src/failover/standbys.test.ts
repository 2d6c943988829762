import { AppError } from '@understudy/shared/core/app-error'
import { agentId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import { restoreGroup } from '@understudy/shared/failover/group'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Entry } from './registry.ts'
import { createStandbys } from './standbys.ts'

test('that no replica can be made is logged once for each reason, however often it is tried', async () => {
  const lines: string[] = []
  let refusal = 'this coordinator knows no pools'
  const clock = systemClock
  const group = restoreGroup(
    {
      agent: agentId('a'),
      certificate: undefined,
      voted: { epoch: 0, primary: undefined },
      key: '',
      members: [],
      policy: defaultLeasePolicy,
    },
    clock.mono(),
  )
  const standbys = createStandbys({
    fleet: { mustAgent: () => Promise.resolve({ auto_replica_enabled: 1 }) },
    replicas: { create: () => Promise.reject(new AppError('input_invalid', refusal)) },
    clock,
    log: pino({}, { write: (line: string) => lines.push(JSON.parse(line).why) }),
  } as unknown as Parameters<typeof createStandbys>[0])
  const entry = {
    agentId: agentId('a'),
    runner: { group, flight: undefined },
    replicas: new Map(),
    wanted: { why: 'notice', tryAt: clock.mono() },
  } as unknown as Entry

  for (let attempt = 0; attempt < 3; attempt += 1) await standbys.tryWanted(entry)
  expect(lines).toEqual([refusal])
  refusal = 'a has 8 replicas already'
  await standbys.tryWanted(entry)
  expect(lines).toHaveLength(2)
  expect(entry.wanted).toBeDefined()
})
