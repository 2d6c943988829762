import { agentId, type IncidentId, instanceId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import type { Trigger } from '@understudy/shared/failover/group'
import { parsePool } from '@understudy/shared/market/pool'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { createFleetStore, createIncidents } from '../fleet/fleet.ts'
import { openSqlite } from '../storage/database.ts'
import { createGroupCommit } from '../storage/group-commit.ts'
import { migrate } from '../storage/migrate.ts'
import { readOpenMoves } from './open-moves.ts'

const id = agentId('a')
const [p, r] = [instanceId('i-aaa'), instanceId('i-bbb')]

/** One agent whose primary is `p`, at epoch 2. `restart`: what the next process reads. */
async function coordinator() {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  const { db } = database
  await migrate(db)
  const fleet = createFleetStore(db, systemClock)
  await fleet.ensureAgent({ id, name: 'a', clientId: 'c' })
  for (const instance of [p, r])
    await fleet.addInstance({
      id: instance,
      agentId: id,
      pool: parsePool('m5.large@us-east-1a'),
      lifeCycle: 'spot',
      privateIp: null,
      launchedAt: null,
    })
  await db.updateTable('agents').set({ epoch: 2, instance_id: p, successor_id: r }).execute()
  const recorder = () =>
    createIncidents({
      db,
      commit: createGroupCommit(db, systemClock),
      clock: systemClock,
      log: pino({ level: 'silent' }),
      onChange: () => undefined,
    })
  const incidents = recorder()
  return {
    incidents,
    open(trigger: Trigger, instance = p, via = 'test') {
      const incident = incidents.newId()
      incidents.open({
        id: incident,
        agentId: id,
        instanceId: instance,
        signalType: 'instance-lost',
        trigger,
        via,
        detected: { wall: systemClock.now(), mono: systemClock.mono() },
        deadline: null,
        epoch: 2,
      })
      return incident
    },
    async restart() {
      await incidents.settled()
      const again = recorder()
      const moves = await readOpenMoves(db, again, systemClock)
      await again.settled()
      return { moves, outcomeOf: async (of: IncidentId) => (await again.get(of)).outcome }
    },
  }
}

test('a silence that nobody has been elected for is taken up again as the same incident', async () => {
  const { open, restart } = await coordinator()
  const incident = open('silence')
  const { moves, outcomeOf } = await restart()
  const { move, flight } = moves.get(id) ?? {}
  expect(move).toMatchObject({ incident: { id: incident, trigger: 'silence' }, at: { kind: 'waiting' } })
  // Nothing was heard of it since it was taken for lost.
  expect(flight?.lastHeard).toBe(flight?.zero)
  expect(await outcomeOf(incident)).toBe('running')
})

test('a planned move that had not been ordered yet, and one about a former primary, are closed', async () => {
  const { open, restart } = await coordinator()
  const all = [open('planned'), open('drill'), open('silence', r), open('notice', r)]
  const { moves, outcomeOf } = await restart()
  expect(moves.size).toBe(0)
  expect(await Promise.all(all.map(outcomeOf))).toEqual(['failed', 'failed', 'failed', 'failed'])
})

test('an incident that was closed goes on under the same id when it turns out otherwise', async () => {
  const { incidents, open } = await coordinator()
  const incident = open('silence')
  const end = {
    replicaId: null,
    newInstanceId: null,
    newEpoch: 2,
    failoverMillis: null,
    noPrimaryMillis: null,
  }
  const failed = {
    outcome: 'failed',
    why: 'it is heard again',
    action: 'none',
    noPrimaryFrom: null,
    loss: null,
  } as const
  incidents.close(incident, { ...end, ...failed })
  expect(incidents.isOpen(incident)).toBe(false)
  incidents.open({
    id: incident,
    agentId: id,
    instanceId: p,
    signalType: 'instance-lost',
    trigger: 'silence',
    via: 'test',
    detected: { wall: systemClock.now(), mono: systemClock.mono() },
    deadline: null,
    epoch: 2,
  })
  expect(incidents.isOpen(incident)).toBe(true)
  await incidents.settled()
  const { items } = await incidents.list({ agentId: id, limit: 10 })
  expect(items).toMatchObject([{ id: incident, outcome: 'running', closed_at: null }])
})

test.each([
  ['operator', true],
  ['decision', false],
  ['rebalance', false],
  ['return-to-spot', false],
])('a planned move that goes on and was asked for by %s keeps the old primary: %s', async (via, keepOld) => {
  const { incidents, open, restart } = await coordinator()
  incidents.target(open('planned', p, via), r)
  const { moves } = await restart()
  expect(moves.get(id)?.move).toMatchObject({ at: { kind: 'handing-over', target: r }, incident: { keepOld } })
})
