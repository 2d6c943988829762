import { agentId, incidentId, instanceId } from '@understudy/shared/core/ids'
import { millis, sleep } from '@understudy/shared/core/time'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import type { Report } from '@understudy/shared/protocol/link'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import type { RoleReplication } from '../record/record.ts'
import type { Recovery } from '../snapshot/snapshot.ts'
import { createRole } from './role.ts'
import type { RoleMemory } from './role-store.ts'

const PRIMARY = instanceId('i-primary')
const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** A role whose disk takes nothing down while `refuses`. */
function roleOnDisk() {
  const time = createVirtualTime()
  const disk = { refuses: true, saves: [] as Partial<RoleMemory>[] }
  const hooks: string[] = []
  const resigned: number[] = []
  const reports: Report[] = []
  const seals: number[] = []
  const exposed: boolean[] = []
  const nothing = async () => undefined
  const role = createRole({
    agent: agentId('one'),
    instance: instanceId('i-self'),
    policy: defaultLeasePolicy,
    freezeBudget: millis(6000),
    clock: time.clock,
    hooks: {
      run: async (hook) => {
        hooks.push(hook)
        return { ok: true, output: '' }
      },
      kill: async () => ({ ok: true, output: '' }),
    },
    replication: {
      serve: () => undefined,
      stopServing: () => undefined,
      stopFollowing: nothing,
      finish: nothing,
      drain: nothing,
      seal: async (_target: string, budget: number) => {
        seals.push(budget)
        await sleep(time.clock, millis(budget))
        throw new Error(`it did not confirm within ${budget} ms`)
      },
    } as unknown as RoleReplication,
    recovery: { begin: nothing, abandon: nothing, stop: nothing } as unknown as Recovery,
    store: {
      memory: { epoch: 0, active: false, handledUpTo: undefined, rebalanceAt: undefined },
      async save(patch) {
        disk.saves.push(patch)
        // A disk that refuses for ever would let a role that asks again at once spin for ever.
        if (disk.refuses && disk.saves.length < 50) throw new Error('ENOSPC: no space left on device')
      },
    },
    voter: {
      lease: { kind: 'solo' },
      release: () => undefined,
      resign: async (epoch) => void resigned.push(epoch),
      expose: async (told) => void exposed.push(told),
    },
    log: pino({ level: 'silent' }),
    report: (report) => void reports.push(report),
    followUpstream: () => undefined,
    onChange: () => undefined,
  })
  closing.push(() => role.close())
  const elected = (epoch: number) =>
    role.dispatch({ kind: 'elected', epoch, term: epoch, fresh: false, lease: { kind: 'solo' } })
  return { role, time, disk, hooks, resigned, reports, elected, seals, exposed }
}

test('a disk that refuses the epoch ends the office in that very epoch, without asking it again and again', async () => {
  const { role, time, disk, hooks, resigned, reports, elected } = roleOnDisk()
  elected(5)
  await time.advance(1000)
  expect(role.member).toMatchObject({ epoch: 5, role: { kind: 'fenced' }, exposed: false })
  expect(hooks).toEqual([])
  expect(resigned).toEqual([5])
  expect(reports).toContainEqual({
    kind: 'promotion-failed',
    epoch: 5,
    why: 'ENOSPC: no space left on device',
  })
  // Its own refusal, and that of writing down that it is over.
  expect(disk.saves).toEqual([
    { epoch: 5, active: false },
    { epoch: 5, active: false },
  ])
  disk.refuses = false
  elected(6)
  await time.advance(1000)
  expect(role.member).toMatchObject({ epoch: 6, role: { kind: 'primary' }, workload: 'running' })
  expect(hooks).toEqual(['start', 'health'])
})

test('a replica whose disk refuses the epoch follows in the same epoch when it is told to again', async () => {
  const { role, time, disk, elected } = roleOnDisk()
  const order = { kind: 'follow', epoch: 3, term: 2, primary: PRIMARY } as const
  role.dispatch({ kind: 'order', order })
  await time.advance(1000)
  expect(role.member).toMatchObject({ epoch: 3, role: { kind: 'fenced' } })
  expect(disk.saves).toHaveLength(2)
  disk.refuses = false
  role.dispatch({ kind: 'order', order })
  await time.advance(1000)
  expect(role.member).toMatchObject({ epoch: 3, role: { kind: 'replica', primary: PRIMARY } })
  elected(4)
  await time.advance(1000)
  expect(role.member).toMatchObject({ epoch: 4, role: { kind: 'primary' } })
})

test('a planned move is called off when the seal takes longer than the freeze may; a notice has all of its time', async () => {
  const { role, time, disk, hooks, reports, elected, seals } = roleOnDisk()
  disk.refuses = false
  elected(5)
  await time.advance(1000)
  const order = {
    kind: 'hand-over',
    epoch: 5,
    target: PRIMARY,
    incident: incidentId('00000000-0000-4000-8000-000000000001'),
    budget: millis(60_000),
  } as const
  role.dispatch({ kind: 'order', order: { ...order, urgent: false } })
  await time.advance(5900)
  expect(hooks.at(-1)).toBe('freeze')
  await time.advance(200)
  expect(hooks.at(-1)).toBe('thaw')
  expect(role.member).toMatchObject({ role: { kind: 'primary' }, workload: 'running' })
  expect(reports).toContainEqual(
    expect.objectContaining({ kind: 'hand-over-failed', why: 'it did not confirm within 6000 ms' }),
  )
  role.dispatch({ kind: 'order', order: { ...order, urgent: true } })
  await time.advance(100)
  expect(seals).toEqual([6000, 30_000])
})

test('of what was held still and is left by the guard, the voter is told that it may be doing something, until it has ended', async () => {
  const { role, time, disk, hooks, elected, exposed } = roleOnDisk()
  disk.refuses = false
  elected(5)
  await time.advance(1000)
  const incident = incidentId('00000000-0000-4000-8000-000000000001')
  const order = { kind: 'hand-over', epoch: 5, target: PRIMARY, incident, budget: millis(60_000) } as const
  role.dispatch({ kind: 'order', order: { ...order, urgent: false } })
  await time.advance(100)
  expect(hooks.at(-1)).toBe('freeze')
  expect(exposed.splice(0)).toEqual([true, false])
  role.dispatch({ kind: 'killed', left: true })
  expect(role.member).toMatchObject({ workload: 'killing', exposed: true })
  await time.advance(100)
  expect(exposed).toEqual([true, false])
})
