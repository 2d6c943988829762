import { agentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { minutes } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import type { ReplicaRow } from '../storage/database.ts'
import { createLateLaunches } from './late-launches.ts'
import type { Entry } from './registry.ts'

const launched = instanceId('i-new')

function bench(phase = 'steady', canLaunch = true) {
  const time = createVirtualTime()
  const ended = new Set<string>()
  const terminated: string[] = []
  const failed: Record<string, string | undefined> = {}
  const members = new Map<InstanceId, unknown>()
  const entry = {
    agentId: agentId('a'),
    runner: { group: { phase: { kind: phase }, members } },
    replicas: new Map<string, ReplicaRow>(),
    wanted: undefined,
  } as unknown as Entry
  const setStatus = async ({ id }: Pick<ReplicaRow, 'id'>, _: string, why?: string) => {
    failed[id] = why
  }
  const launches = createLateLaunches({
    replicas: { setStatus },
    departures: {
      async forget(_, instance, why) {
        const row = entry.replicas.get(instance)
        entry.replicas.delete(instance)
        if (row) await setStatus(row, 'failed', why)
      },
    },
    cloud: {
      kind: 'simulated',
      canLaunch,
      describe: async (id) => ({ state: ended.has(id) ? 'terminated' : 'running' }) as never,
      terminate: async (id) => void terminated.push(id),
    },
    clock: time.clock,
  })
  const add = (id: string, more: Partial<ReplicaRow> = {}) =>
    entry.replicas.set(more.instance_id ?? id, {
      ...{ id, status: 'launching', type: 'automatic-termination', instance_id: null },
      ...{ created_at: time.clock.now(), ...more },
    } as ReplicaRow)
  return { time, entry, launches, add, ended, terminated, failed, members }
}

test('a launched instance that ended before it joined is given up at once, and another one is wanted', async () => {
  const { entry, launches, add, ended, failed } = bench()
  add('r', { instance_id: launched })
  await launches.look(entry)
  expect(failed).toEqual({})
  ended.add(launched)
  await launches.look(entry)
  expect(failed).toEqual({ r: 'its instance ended before it joined' })
  expect(entry.replicas.size).toBe(0)
  expect(entry.wanted).toMatchObject({ why: 'lost' })
})

test('one that never joins is ended after a quarter of an hour, and others that are waited for stay', async () => {
  const { time, entry, launches, add, terminated, failed } = bench()
  add('late', { instance_id: launched })
  add('unattached')
  await time.advance(minutes(15) + 1)
  add('made a moment ago')
  await launches.look(entry)
  expect(terminated).toEqual([launched])
  expect(failed).toEqual({
    late: 'it did not join within 15 minutes',
    unattached: 'it did not join within 15 minutes',
  })
  expect([...entry.replicas.keys()]).toEqual(['made a moment ago'])
})

test('the time in which there was no coordinator does not count', async () => {
  const { time, entry, launches, add, failed } = bench()
  add('r', { instance_id: launched, created_at: time.clock.now() - minutes(60) })
  await launches.look(entry)
  await time.advance(minutes(15))
  await launches.look(entry)
  expect(failed).toEqual({})
  await time.advance(1)
  await launches.look(entry)
  expect(Object.keys(failed)).toEqual(['r'])
})

test('one by hand is not replaced, unless the workload waits for an instance to start on', async () => {
  const { entry, launches, add, ended, failed } = bench()
  add('r', { instance_id: launched, type: 'manual' })
  ended.add(launched)
  await launches.look(entry)
  expect(Object.keys(failed)).toEqual(['r'])
  expect(entry.wanted).toBeUndefined()
  const down = bench('relaunching')
  down.add('r', { instance_id: launched, type: 'manual' })
  down.ended.add(launched)
  await down.launches.look(down.entry)
  expect(down.entry.wanted).toMatchObject({ why: 'lost' })
})

test('nothing is wanted in the place of a member, whose loss its group hears of, nor where nothing can be launched', async () => {
  const { time, entry, launches, add, members, terminated } = bench()
  members.set(launched, {})
  add('r', { instance_id: launched })
  await time.advance(minutes(16))
  await launches.look(entry)
  expect(terminated).toEqual([launched])
  expect(entry.wanted).toBeUndefined()
  const manual = bench('steady', false)
  manual.add('r')
  await manual.time.advance(minutes(16))
  await manual.launches.look(manual.entry)
  expect(manual.entry.replicas.size).toBe(0)
  expect(manual.entry.wanted).toBeUndefined()
})
