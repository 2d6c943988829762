import { AppError } from '@understudy/shared/core/app-error'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { hours, minutes, seconds } from '@understudy/shared/core/time'
import type { SignalOutcome } from '@understudy/shared/interruption/signal-outcome'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Entry } from '../registry.ts'
import { createStandbyKeeper } from './standby-keeper.ts'

const PRIMARY = instanceId('i-0a')

/** One agent with a primary, and a keeper of its standbys that has just been started. */
function scene() {
  const time = createVirtualTime(hours(1000))
  const done: string[] = []
  const logged: string[] = []
  const world = {
    signal: undefined as { outcome: SignalOutcome; detectedAt: number } | undefined,
    hazard: 0.01,
    estimates: 0,
    refusal: undefined as AppError | undefined,
    rows: [] as { id: string; type: string; created_at: number; instance_id: string }[],
  }
  const owner = { instance: PRIMARY, connected: true, noticedBy: undefined }
  const entry = {
    agentId: agentId('shop'),
    runner: {
      group: {
        primary: PRIMARY,
        phase: { kind: 'steady' },
        members: new Map([[PRIMARY, owner]]),
        policy: {},
      },
      flight: undefined,
    },
    replicas: new Map(),
    wanted: undefined,
    atRisk: undefined,
  } as unknown as Entry
  const agent = { id: 'shop', on_rebalance: 'replica', auto_replica_enabled: 1, rebalance_threshold: 0.3 }
  const keeper = createStandbyKeeper({
    registry: { entries: () => [entry] },
    fleet: {
      agents: () => Promise.resolve([{ ...agent, min_replicas: 0, last_failover_at: null }]),
      instance: () =>
        Promise.resolve({ pool_id: 'm5.large@us-east-1a', launched_at: null, life_cycle: 'spot' }),
    },
    interruptions: {
      afterSignal: () => Promise.resolve({ value: 0.4 }),
      estimate: () => {
        world.estimates += 1
        return Promise.resolve({ value: world.hazard })
      },
      ledger: {
        since: () =>
          Promise.resolve(
            world.signal ? [{ ...world.signal, instanceId: PRIMARY, poolId: 'm5.large@us-east-1a' }] : [],
          ),
      },
    },
    standbys: {
      usable: () => world.rows,
      isMaking: () => false,
      add: (_: Entry, type: string, why: string) => {
        if (world.refusal) return Promise.reject(world.refusal)
        done.push(`make ${type}: ${why}`)
        return Promise.resolve()
      },
      release: (_: Entry, id: string, why: string) => {
        done.push(`release ${id}: ${why}`)
        return Promise.resolve()
      },
    },
    moves: { promote: () => done.push('promote') },
    ranked: () => Promise.resolve([]),
    canLaunch: true,
    cooldown: hours(2),
    emptyPoolFor: minutes(5),
    clock: time.clock,
    log: pino({}, { write: (line: string) => logged.push(JSON.parse(line).event) }),
  } as unknown as Parameters<typeof createStandbyKeeper>[0])
  return { time, done, logged, world, entry, keeper }
}

test('a quiet agent is only looked at, and its hazard is asked for once a minute', async () => {
  const { time, done, world, entry, keeper } = scene()
  for (let look = 0; look < 45; look += 1) {
    await keeper.lookAtAll()
    await time.advance(seconds(2))
  }
  expect(done).toEqual([])
  expect(world.estimates).toBe(2)
  expect(entry.atRisk).toBeUndefined()
})

test('a hazard above the threshold makes a replica without any recommendation', async () => {
  const { done, world, keeper } = scene()
  world.hazard = 0.31
  await keeper.lookAtAll()
  expect(done).toEqual([
    'make automatic-rebalance: the primary is interrupted within 2 h with a probability of 0.31 by its age, pool and hour',
  ])
})

test('what cannot be made is tried again after a minute, and nothing is made while something else is under way', async () => {
  const { time, done, logged, world, entry, keeper } = scene()
  world.signal = { outcome: 'open', detectedAt: time.clock.now() }
  world.refusal = new AppError('no_capacity', 'no pool is left')
  for (let look = 0; look < 29; look += 1) {
    await keeper.lookAtAll()
    await time.advance(seconds(2))
  }
  expect(logged.filter((event) => event === 'standby.not_kept')).toHaveLength(1)
  expect(entry.atRisk).toBe(PRIMARY)
  world.refusal = undefined
  await time.advance(seconds(2))
  Object.assign(entry, { wanted: { why: 'lost' } })
  await keeper.lookAtAll()
  expect(done).toEqual([])
  Object.assign(entry, { wanted: undefined })
  await keeper.lookAtAll()
  expect(done).toHaveLength(1)
})

test('a recommendation that came to nothing is over after two hours, also for a coordinator that has just started', async () => {
  const { time, done, world, entry, keeper } = scene()
  const at = time.clock.now()
  world.signal = { outcome: 'open', detectedAt: at }
  world.rows = [{ id: 'r', type: 'automatic-rebalance', created_at: at, instance_id: 'i-0b' }]
  await keeper.lookAtAll()
  expect([done, entry.atRisk]).toEqual([[], PRIMARY])
  await time.advance(hours(2) + minutes(1))
  world.signal = { outcome: 'not_followed', detectedAt: at }
  await keeper.lookAtAll()
  expect(done).toEqual(['release r: no notice followed the recommendation: it is not needed any more'])
  expect(entry.atRisk).toBeUndefined()
})
