import { type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { mono } from '@understudy/shared/core/time'
import { groupBench, P, Q, R } from '@understudy/shared/testkit/group-bench'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { createHousekeeping } from './housekeeping.ts'
import type { Entry } from './registry.ts'

/** One agent whose housekeeping is done every two seconds; the cloud does not end those in `refused`. */
function bench(group: ReturnType<typeof groupBench>['group']) {
  const { clock, advance } = createVirtualTime()
  const stop = new AbortController()
  const ended: InstanceId[] = []
  const refused = new Set<InstanceId>()
  const wanted: Entry[] = []
  const entry = {
    runner: { group, dispatch: () => undefined },
    dying: new Map<InstanceId, unknown>(),
    replicas: new Map(),
    wanted: undefined,
  } as unknown as Entry
  const housekeeping = createHousekeeping({
    registry: { entries: () => [entry] },
    presence: { takeSeen: () => new Map() },
    fleet: { flushHeartbeats: () => Promise.resolve() },
    departures: { forget: () => Promise.resolve() },
    launches: { look: () => Promise.resolve() },
    cloud: {
      describe: async () => ({ state: 'running' }),
      async terminate(instance: InstanceId) {
        if (refused.has(instance)) throw new Error('not now')
        ended.push(instance)
      },
    },
    clock,
    log: pino({ level: 'silent' }),
    onWanted: async (of: Entry) => void wanted.push(of),
    onWaiting: () => undefined,
  } as unknown as Parameters<typeof createHousekeeping>[0])
  const running = housekeeping.run(stop.signal)
  onTestFinished(async () => {
    stop.abort()
    await running
  })
  return { entry, advance, ended, refused, wanted }
}

test('a machine that was replaced is ended, but for one that is being elected again: that one is ended when it is not', async () => {
  const g = groupBench([P, R, Q]).settle()
  g.wait(1001, R, Q)
  expect(g.group.phase.kind).toBe('voting')
  const { entry, advance, ended } = bench(g.group)
  for (const instance of [R, Q]) entry.dying.set(instance, mono(0))
  await advance(2000)
  expect(ended).toEqual([Q])
  expect([...entry.dying.keys()]).toEqual([R])
  Object.assign(entry.runner, { group: { ...g.group, phase: { kind: 'steady' }, certificate: undefined } })
  await advance(2000)
  expect(ended).toEqual([Q, R])
})

test('a machine that cannot be ended is tried again, and holds up nothing else', async () => {
  const { entry, advance, ended, refused, wanted } = bench(groupBench().group)
  const [stuck, old] = [instanceId('i-stuck'), instanceId('i-old')]
  refused.add(stuck)
  for (const instance of [stuck, old]) entry.dying.set(instance, mono(0))
  entry.wanted = { why: 'lost', since: mono(0), tryAt: mono(0) }
  await advance(2000)
  expect(ended).toEqual([old])
  expect(wanted).toContain(entry)
  refused.clear()
  await advance(2000)
  expect(ended).toEqual([old, stuck])
})
