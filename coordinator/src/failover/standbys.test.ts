import { AppError } from '@understudy/shared/core/app-error'
import { agentId } from '@understudy/shared/core/ids'
import { mono, systemClock } from '@understudy/shared/core/time'
import { restoreGroup } from '@understudy/shared/failover/group'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
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
    wanted: { why: 'notice', since: clock.mono(), tryAt: clock.mono() },
  } as unknown as Entry

  for (let attempt = 0; attempt < 3; attempt += 1) await standbys.tryWanted(entry)
  expect(lines).toEqual([refusal])
  refusal = 'a has 8 replicas already'
  await standbys.tryWanted(entry)
  expect(lines).toHaveLength(2)
  expect(entry.wanted).toBeDefined()
})

test('a replica in the place of a promoted one lets the moves of others go first, and nothing else waits', () => {
  const tried: string[] = []
  let moving = true
  let now = mono(1000)
  const clock = { ...systemClock, mono: () => now }
  const standbys = createStandbys({
    fleet: {
      mustAgent: (id: string) => {
        tried.push(id)
        return new Promise(() => undefined)
      },
    },
    isMoving: () => moving,
    clock,
    log: pino({ level: 'silent' }),
  } as unknown as Parameters<typeof createStandbys>[0])
  const entryOf = (id: string) =>
    ({ agentId: agentId(id), runner: { flight: undefined }, replicas: new Map() }) as unknown as Entry

  const replaced = entryOf('replaced')
  standbys.want(replaced, 'replaced')
  expect(tried).toEqual([])
  expect(replaced.wanted).toMatchObject({ why: 'replaced' })
  standbys.want(entryOf('noticed'), 'notice')
  standbys.want(entryOf('lost'), 'lost')
  expect(tried).toEqual(['noticed', 'lost'])
  // Some other move takes long.
  now = mono(now + 10_000)
  void standbys.tryWanted(replaced)
  expect(tried).toEqual(['noticed', 'lost', 'replaced'])
  moving = false
  standbys.want(entryOf('alone'), 'replaced')
  expect(tried.at(-1)).toBe('alone')
})

test('what could not be made is tried again at once while an incident runs, and after ten seconds otherwise', async () => {
  let now = mono(5000)
  const asked: unknown[] = []
  const standbys = createStandbys({
    fleet: { mustAgent: () => Promise.resolve({ auto_replica_enabled: 1, on_demand_fallback: 0 }) },
    replicas: {
      create: (request: { isUrgent?: boolean }) => {
        asked.push(request.isUrgent)
        return Promise.reject(new AppError('no_capacity', 'no pool has any'))
      },
    },
    note: () => undefined,
    clock: { ...systemClock, mono: () => now },
    log: pino({ level: 'silent' }),
  } as unknown as Parameters<typeof createStandbys>[0])
  const entry = {
    agentId: agentId('a'),
    runner: { group: { phase: { kind: 'steady' }, members: new Map() }, flight: undefined as unknown },
    replicas: new Map(),
    wanted: { why: 'lost', since: now, tryAt: now },
  }
  await standbys.tryWanted(entry as unknown as Entry)
  expect(entry.wanted.tryAt).toBe(15_000)
  entry.runner.flight = { incident: { id: 'x' }, toldEmpty: false }
  now = mono(6000)
  await standbys.tryWanted(entry as unknown as Entry)
  expect(entry.wanted.tryAt).toBe(6000)
  entry.runner.flight = undefined
  entry.runner.group.phase.kind = 'relaunching'
  await standbys.tryWanted(entry as unknown as Entry)
  expect(entry.wanted.tryAt).toBe(6000)
  expect(asked).toEqual([false, true, true])
})

test('the record of an incident names the replica that was made for it, and not the standby of whoever was elected', async () => {
  const made = (id: string) => ({ row: { id, instance_id: `i-${id}`, reason: null } })
  const create = vi.fn().mockResolvedValueOnce(made('first')).mockResolvedValueOnce(made('second'))
  const standbys = createStandbys({
    fleet: { mustAgent: () => Promise.resolve({ auto_replica_enabled: 1, on_demand_fallback: 0 }) },
    replicas: { create },
    note: () => undefined,
    onChange: () => undefined,
    isMoving: () => false,
    clock: systemClock,
    log: pino({ level: 'silent' }),
  } as unknown as Parameters<typeof createStandbys>[0])
  const flight = { incident: { id: 'x' }, heir: undefined as unknown, replicaId: undefined }
  const entry = {
    agentId: agentId('a'),
    runner: { group: { phase: { kind: 'steady' }, members: new Map() }, flight },
    replicas: new Map(),
    wanted: { why: 'notice', since: mono(0), tryAt: mono(0) },
  } as unknown as Entry
  await standbys.tryWanted(entry)
  expect(flight.replicaId).toBe('first')
  entry.replicas.clear()
  entry.wanted = { why: 'replaced', since: mono(0), tryAt: mono(0) }
  flight.heir = 'i-first'
  await standbys.tryWanted(entry)
  expect(create).toHaveBeenCalledTimes(2)
  expect(flight.replicaId).toBe('first')
})

test('a wish outlives a database that is busy', async () => {
  const entry = {
    agentId: agentId('a'),
    runner: { group: { phase: { kind: 'steady' } }, flight: undefined },
    replicas: new Map(),
    wanted: { why: 'lost', since: mono(0), tryAt: mono(0) },
  } as unknown as Entry
  const standbys = createStandbys({
    fleet: { mustAgent: () => Promise.reject(new Error('the database is busy')) },
    clock: { ...systemClock, mono: () => mono(1000) },
    log: pino({ level: 'silent' }),
  } as unknown as Parameters<typeof createStandbys>[0])
  await standbys.tryWanted(entry)
  expect(entry.wanted).toMatchObject({ why: 'lost', tryAt: 11_000 })
})

test('a launch that an earlier coordinator began and that fails is wanted again, unless it was by hand', async () => {
  const finish = async (type: string) => {
    const entry = {
      agentId: agentId('a'),
      runner: { flight: undefined },
      replicas: new Map([['r', { id: 'r', instance_id: null, status: 'launching', type }]]),
    } as unknown as Entry
    const standbys = createStandbys({
      replicas: { finishLaunch: () => Promise.reject(new AppError('no_capacity', 'no pool has any')) },
      cloud: { canLaunch: true },
      clock: systemClock,
      log: pino({ level: 'silent' }),
    } as unknown as Parameters<typeof createStandbys>[0])
    await standbys.finishLaunches(entry)
    return entry.wanted
  }
  expect(await finish('automatic-rebalance')).toMatchObject({ why: 'lost' })
  expect(await finish('manual')).toBeUndefined()
})
