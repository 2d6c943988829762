import { instanceId } from '@understudy/shared/core/ids'
import { expect, onTestFinished, test } from 'vitest'
import { addAgent } from '../fleet/testing.ts'
import { openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { listSwitches, noteOutcome } from './switches.ts'

const [p, q, r] = [instanceId('i-aaa'), instanceId('i-bbb'), instanceId('i-ccc')]

async function twoChanges() {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  const { db } = database
  await migrate(db)
  await addAgent(db, { id: 'a' })
  const change = (epoch: number, from: string, to: string, incident: string) => ({
    ...{ id: `s${epoch}`, agent_id: 'a', epoch, incident_id: incident, switch_reason: 'manual' },
    ...{ old_instance_id: from, new_instance_id: to, old_pool_id: 'x', new_pool_id: 'y' },
    ...{ old_instance_price: null, new_instance_price: null, success: null, switched_at: epoch },
  })
  const changes = [change(2, p, q, 'one'), change(3, q, r, 'one'), change(4, r, p, 'two')]
  await db.insertInto('instance_switches').values(changes).execute()
  const outcomes = async () => (await listSwitches(db, { limit: 10 })).map(({ success }) => success)
  return { db, outcomes }
}

test('of the changes of an incident only the one to whoever serves in the end has succeeded', async () => {
  const { db, outcomes } = await twoChanges()
  await noteOutcome(db, 'one', r)
  expect(await outcomes()).toEqual([null, true, false])
})

test('where nobody has taken over, none has', async () => {
  const { db, outcomes } = await twoChanges()
  await noteOutcome(db, 'one', null)
  expect(await outcomes()).toEqual([null, false, false])
})
