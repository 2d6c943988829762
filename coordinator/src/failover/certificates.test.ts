import { agentId, instanceId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import { expect, onTestFinished, test } from 'vitest'
import { createFleetStore } from '../fleet/fleet.ts'
import { openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { commitEpoch } from './commit-epoch.ts'

test('an epoch is committed once, whoever comes first', async () => {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  const { db } = database
  await migrate(db)
  const fleet = createFleetStore(db, systemClock)
  const id = agentId('a')
  await fleet.ensureAgent({ id, name: 'a', clientId: 'c' })
  const [p, r] = [instanceId('i-aaa'), instanceId('i-bbb')]
  for (const instance of [p, r])
    await fleet.addInstance({
      id: instance,
      agentId: id,
      pool: parsePool('m5.large@us-east-1a'),
      lifeCycle: 'spot',
      privateIp: null,
      launchedAt: null,
    })
  const change = {
    agentId: id,
    from: 0,
    to: 1,
    target: p,
    previous: null,
    incident: null,
    trigger: null,
    fresh: false,
    retirePrevious: false,
    oldPrice: null,
    newPrice: null,
  }
  expect(await commitEpoch(db, systemClock, change)).toEqual({ kind: 'committed', replicaId: null })
  expect(await commitEpoch(db, systemClock, change)).toEqual({ kind: 'moved', epoch: 1 })
  const next = { ...change, from: 1, to: 2, target: r, previous: p, trigger: 'notice' as const }
  const both = await Promise.all([
    commitEpoch(db, systemClock, next),
    commitEpoch(db, systemClock, { ...next, target: p, previous: r }),
  ])
  expect(both.map(({ kind }) => kind).sort()).toEqual(['committed', 'moved'])
  expect(await db.selectFrom('instance_switches').selectAll().execute()).toHaveLength(1)
  expect(await fleet.agent(id)).toMatchObject({ epoch: 2, instance_id: r })
  expect(await fleet.instance(p)).toMatchObject({ is_active: 0 })
})
