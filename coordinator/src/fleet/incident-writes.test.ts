import { agentId, type IncidentId, instanceId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { openSqlite } from '../storage/database.ts'
import { createGroupCommit } from '../storage/group-commit.ts'
import { migrate } from '../storage/migrate.ts'
import { createIncidents, type Incidents } from './incidents.ts'
import { addAgent, addInstance } from './testing.ts'

const p = instanceId('i-aaa')

/** A recorder whose database takes nothing while it is `full`. */
async function recorder() {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  const { db } = database
  await migrate(db)
  await addAgent(db, { id: 'a' })
  await addInstance(db, { id: p, agent_id: 'a', pool_id: 'm5.large@us-east-1a' })
  const time = createVirtualTime()
  const state = { full: true }
  const commit = createGroupCommit(db, systemClock)
  const open = (full: { readonly full: boolean }) =>
    createIncidents({
      ...{ db, clock: time.clock, log: pino({ level: 'silent' }), onChange: () => undefined },
      commit: {
        ...commit,
        soon: (write) => (full.full ? Promise.reject(new Error('the disk is full')) : commit.soon(write)),
      },
    })
  const written = async (id: IncidentId) => {
    await commit.settled()
    // Another process reads what is in the database.
    return open({ full: false })
      .get(id)
      .catch(() => undefined)
  }
  return { time, state, incidents: open(state), written }
}

function begin(incidents: Incidents, began: number): IncidentId {
  const id = incidents.newId()
  incidents.open({
    ...{ id, agentId: agentId('a'), instanceId: p, signalType: 'instance-lost', trigger: 'silence' },
    ...{ via: 'test', detected: { wall: systemClock.now(), mono: began as never } },
    ...{ deadline: null, epoch: 1 },
  })
  return id
}

const step = (incidents: Incidents, id: IncidentId, name: string) =>
  incidents.step(id, {
    ...{ step: name, ok: true, detail: '', reportedBy: p, clock: p, tookMillis: 1, uncertaintyMillis: 0 },
    ...{ began: 1 as never, at: systemClock.now() },
  })

test('an incident that could not be written is written with all its steps when the database takes it', async () => {
  const { time, state, incidents, written } = await recorder()
  const id = begin(incidents, 0)
  step(incidents, id, 'one')
  incidents.target(id, 'i-bbb')
  await time.advance(5000)
  expect(await written(id)).toBeUndefined()
  state.full = false
  step(incidents, id, 'two')
  await time.advance(1000)
  const record = await written(id)
  expect(record).toMatchObject({ new_instance_id: 'i-bbb' })
  expect(record?.steps.map(({ seq, step: name }) => [seq, name])).toEqual([
    [1, 'one'],
    [2, 'two'],
  ])
})

test('it is written with the next change of another one, if that comes first', async () => {
  const { time, state, incidents, written } = await recorder()
  const id = begin(incidents, 0)
  await time.advance(10)
  state.full = false
  const other = begin(incidents, 5)
  expect(await written(id)).toMatchObject({ id })
  expect(await written(other)).toMatchObject({ id: other })
})

test('a change that could not be written later on is made up for, and what follows it is written once', async () => {
  const { time, state, incidents, written } = await recorder()
  state.full = false
  const id = begin(incidents, 0)
  step(incidents, id, 'one')
  await written(id)
  state.full = true
  step(incidents, id, 'two')
  await time.advance(10)
  state.full = false
  await time.advance(1000)
  step(incidents, id, 'three')
  const names = (await written(id))?.steps.map(({ step: name }) => name)
  expect(names).toEqual(['one', 'two', 'three'])
})
