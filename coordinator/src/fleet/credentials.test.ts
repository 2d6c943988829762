import { agentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { hours } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { createCredentialRenewal } from './credential-renewal.ts'
import { type Credential, createCredentials } from './credentials.ts'
import { addAgent, addInstance } from './testing.ts'

const ID = instanceId('i-1')
const DAY = hours(24)

async function enrolled() {
  const { db, close } = openSqlite({ path: ':memory:' })
  onTestFinished(close)
  await migrate(db)
  const time = createVirtualTime()
  await addAgent(db, { id: 'agent-1' })
  await addInstance(db, { id: ID, agent_id: 'agent-1', pool_id: 'c5.large@us-east-1a' })
  const credentials = createCredentials(db, time.clock)
  const first = await credentials.issue(ID)
  return { db, time, credentials, first: first.credential }
}

test('a credential is renewed when it has lived for a day, and ends when the new one is used', async () => {
  const { time, credentials, first } = await enrolled()
  const owner = { agentId: agentId('agent-1'), instanceId: ID }
  expect(await credentials.renewIfDue(ID)).toBeUndefined()
  await time.advance(DAY)
  const next = await credentials.renewIfDue(ID)
  expect(await credentials.find(first)).toEqual(owner)
  expect(await credentials.find(next?.credential ?? '')).toEqual(owner)
  expect(await credentials.find(first)).toBeUndefined()
})

test('a new credential that has not been used yet is not replaced within the day', async () => {
  const { time, credentials } = await enrolled()
  await time.advance(DAY)
  const next = await credentials.renewIfDue(ID)
  await time.advance(hours(1))
  expect(await credentials.renewIfDue(ID)).toBeUndefined()
  expect(await credentials.find(next?.credential ?? '')).toBeDefined()
})

test('a renewal that fails keeps no other from being made, and is tried again', async () => {
  const { clock, advance } = createVirtualTime()
  const stop = new AbortController()
  const sent: InstanceId[] = []
  let isBusy = true
  const renewal = createCredentialRenewal({
    credentials: {
      renewIfDue: async (instance): Promise<Credential | undefined> => {
        if (instance === ID && isBusy) throw new Error('the database is locked')
        return { credential: `uc_${instance}_new`, expiresAt: clock.now() }
      },
    },
    connected: () => [ID, instanceId('i-2')],
    send: (instance) => void sent.push(instance),
    clock,
    log: pino({ level: 'silent' }),
  })
  const running = renewal.run(stop.signal)
  await advance(0)
  expect(sent).toEqual(['i-2'])
  isBusy = false
  await advance(hours(1))
  expect(sent).toEqual(['i-2', ID, 'i-2'])
  stop.abort()
  await running
})
