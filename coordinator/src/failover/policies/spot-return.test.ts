import { agentId } from '@understudy/shared/core/ids'
import { microUsd } from '@understudy/shared/core/money'
import { hours, instant, seconds } from '@understudy/shared/core/time'
import type { StandbyFacts } from '@understudy/shared/policies/standby-plan'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { AgentRow, InstanceRow } from '../../storage/database.ts'
import type { Entry } from '../registry.ts'
import { createSpotReturns } from './spot-return.ts'

const BEST = { pool: 'm5.large@us-east-1c', spotPrice: 40_000, risk: 0.01 }

/** An agent whose primary we have started on demand four hours ago. */
function scene(more: { agent?: Partial<AgentRow>; startedBy?: string; best?: typeof BEST | undefined } = {}) {
  const time = createVirtualTime(hours(1000))
  const done: string[] = []
  const logged: string[] = []
  let asked = 0
  const entry = {
    agentId: agentId('shop'),
    replicas: new Map([['i-spot', { id: 'r', pool_id: BEST.pool, life_cycle: 'spot' }]]),
  } as unknown as Entry
  const returns = createSpotReturns({
    offers: { of: () => ({ spotPrice: microUsd(40_000), onDemandPrice: microUsd(96_000) }) },
    store: {
      list: () =>
        Promise.resolve([
          { instance_id: 'i-od', life_cycle: 'on-demand', created_by: more.startedBy ?? 'understudy' },
        ]),
    },
    replicas: {
      best: () => {
        asked += 1
        return Promise.resolve('best' in more ? more.best : BEST)
      },
    },
    standbys: { add: (_: Entry, type: string) => Promise.resolve(done.push(`make ${type}`)) },
    moves: {
      promote: (_: Entry, row: { id: string }, request: unknown, by: { cause: string }) =>
        done.push(`promote ${row.id} ${JSON.stringify(request)} ${by.cause}`),
    },
    voluntarySwitches: () => Promise.resolve(0),
    isReturning: () => false,
    clock: time.clock,
    log: pino({}, { write: (line: string) => logged.push(JSON.parse(line).event) }),
  } as unknown as Parameters<typeof createSpotReturns>[0])
  const agent = {
    ...{ on_demand_fallback: 1, auto_switch_enabled: 1, auto_replica_enabled: 1, rebalance_threshold: 0.3 },
    ...more.agent,
  } as AgentRow
  const primary = { id: 'i-od', pool_id: 'm5.large@us-east-1a', launched_at: time.clock.now() - hours(4) }
  const look = (standbys: readonly StandbyFacts[] = []) =>
    returns.look(entry, agent, primary as InstanceRow, standbys)
  return { time, done, logged, look, asked: () => asked }
}
const standby: StandbyFacts = {
  ...{ id: 'r', instance: 'i-spot', type: 'automatic-rebalance', createdAt: instant(0) },
  ...{ isReady: false, isAtRisk: false, merit: 0 },
}

test('first a standby is made, then it takes over when it is ready, and once', async () => {
  const { done, look } = scene()
  await look()
  expect(done).toEqual(['make automatic-rebalance'])
  await look([standby])
  expect(done).toHaveLength(1)
  await look([{ ...standby, isReady: true }])
  expect(done[1]).toBe('promote r {"demote_old_primary":false} return-to-spot')
  await look([{ ...standby, isReady: true }])
  expect(done).toHaveLength(2)
})

test.each<[Parameters<typeof scene>[0], string]>([
  [{ agent: { on_demand_fallback: 0 } }, 'it may not be helped on demand'],
  [{ agent: { auto_switch_enabled: 0 } }, 'it may not be moved'],
  [{ agent: { auto_replica_enabled: 0 } }, 'it may be given no replica'],
  [{ startedBy: 'alice' }, 'somebody has chosen it'],
])('%j: it stays, because %s', async (more, _) => {
  const { done, look, asked } = scene(more)
  await look([{ ...standby, isReady: true }])
  expect(done).toEqual([])
  expect(asked()).toBe(0)
})

test('while no pool is left it is looked at every ten seconds, and said once', async () => {
  const { time, done, logged, look, asked } = scene({ best: undefined })
  for (let seen = 0; seen < 11; seen += 1) {
    await look()
    await time.advance(seconds(2))
  }
  expect(done).toEqual([])
  expect(asked()).toBe(3)
  expect(logged).toEqual(['spot-return.stay'])
})
