import { agentId, instanceId } from '@understudy/shared/core/ids'
import { hours, millis, minutes } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createFleetStore, defaultSettings } from '../fleet/fleet.ts'
import { type OpenDatabase, openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { createTokens } from './tokens.ts'

let database: OpenDatabase
beforeEach(async () => {
  database = openSqlite({ path: ':memory:' })
  await migrate(database.db)
})
afterEach(() => database.close())

const bench = () => {
  const time = createVirtualTime()
  return { time, tokens: createTokens(database.db, time.clock) }
}

test('a token lets its owner in, and nobody learns it from the database', async () => {
  const { tokens } = bench()
  const token = await tokens.createOperator('ada', 'operator', undefined)
  expect(await tokens.findOperator(token)).toEqual({ name: 'ada', role: 'operator' })
  const rows = await database.db.selectFrom('api_tokens').selectAll().execute()
  expect(JSON.stringify(rows)).not.toContain(token.split('_').slice(2).join('_'))
})

test('a token is known again after a restart, and another secret in its place is not', async () => {
  const { time, tokens } = bench()
  const token = await tokens.createOperator('ada', 'operator', undefined)
  const restarted = createTokens(database.db, time.clock)
  const wrong = `${token.slice(0, -43)}${'a'.repeat(43)}`
  for (const each of [tokens, restarted]) {
    expect(await each.findOperator(wrong)).toBeUndefined()
    expect(await each.findOperator(token)).toEqual({ name: 'ada', role: 'operator' })
  }
})

test.each(['', 'us_', 'us_0000000000000000_x', 'garbage', 'us_0000000000000000_'.padEnd(62, 'a')])(
  '%j lets nobody in',
  async (token) => {
    const { tokens } = bench()
    expect(await tokens.findOperator(token)).toBeUndefined()
  },
)

test('a token ends with its time, and at once when it is revoked', async () => {
  const { time, tokens } = bench()
  const token = await tokens.createOperator('ada', 'admin', hours(1))
  await time.advance(millis(3_600_001))
  expect(await tokens.findOperator(token)).toBeUndefined()
  const other = await tokens.createOperator('bob', 'admin', undefined)
  expect(await tokens.findOperator(other)).toBeDefined()
  const [row] = (await tokens.list()).filter(({ name }) => name === 'bob')
  expect(await tokens.revoke(row?.id ?? '')).toBe(true)
  expect(await tokens.findOperator(other)).toBeUndefined()
  expect(await tokens.revoke(row?.id ?? '')).toBe(false)
})

test('a session ends with the token that it was made from, and no other does', async () => {
  const { time, tokens } = bench()
  const [ada, bob] = [
    await tokens.createOperator('ada', 'operator', hours(1)),
    await tokens.createOperator('bob', 'viewer', undefined),
  ]
  const sessionOf = async (token: string) => (await tokens.createSession(token, hours(12)))?.session ?? ''
  const [adas, bobs, bobsOther] = [await sessionOf(ada), await sessionOf(bob), await sessionOf(bob)]
  expect(await tokens.findSession(adas)).toEqual({ name: 'ada', role: 'operator' })
  await time.advance(hours(1))
  expect(await tokens.findSession(adas)).toBeUndefined()
  await tokens.endSession(bobs)
  expect(await tokens.findSession(bobsOther)).toEqual({ name: 'bob', role: 'viewer' })
  expect(await tokens.findOperator(bob)).toBeDefined()
  await tokens.revoke(bob.split('_')[1] ?? '')
  expect(await tokens.findSession(bobsOther)).toBeUndefined()
})

test('a session is made from a valid token of an operator alone, and ends with its own time', async () => {
  const { time, tokens } = bench()
  const token = await tokens.createOperator('ada', 'admin', undefined)
  const made = await tokens.createSession(token, hours(12))
  expect(made).toMatchObject({ name: 'ada', role: 'admin' })
  const join = await tokens.createJoin({ agentId: 'a', replicaId: null, instanceId: null }, hours(1))
  for (const none of [made?.session ?? '', join, 'garbage'])
    expect(await tokens.createSession(none, hours(12))).toBeUndefined()
  await time.advance(hours(12))
  expect(await tokens.findSession(made?.session ?? '')).toBeUndefined()
})

test('a join token is used once, by the instance that it is for', async () => {
  const { tokens } = bench()
  const token = await tokens.createJoin({ agentId: 'a', replicaId: null, instanceId: 'i-1' }, hours(1))
  await expect(tokens.useJoin(token, 'i-2')).rejects.toThrow('is for i-1, not for i-2')
  expect(await tokens.useJoin(token, 'i-1')).toMatchObject({ agentId: 'a' })
  await expect(tokens.useJoin(token, 'i-1')).rejects.toThrow('was used before')
})

test('an instance that came in by a token may use it again for ten minutes, and only that one', async () => {
  const { time, tokens } = bench()
  await database.db.insertInto('clients').values({ id: 'c', name: 'c', created_at: 0 }).execute()
  const fleet = createFleetStore(database.db, time.clock, defaultSettings)
  await fleet.ensureAgent({ id: agentId('a'), name: 'a', clientId: 'c' })
  const enter = (id: string) =>
    fleet.addInstance({
      id: instanceId(id),
      agentId: agentId('a'),
      pool: parsePool('m5.large@us-east-1a'),
      lifeCycle: 'spot',
      privateIp: null,
      launchedAt: null,
    })
  await enter('i-before')
  await time.advance(minutes(1))
  const token = await tokens.createJoin({ agentId: 'a', replicaId: null, instanceId: null }, hours(1))
  await tokens.useJoin(token, 'i-new')
  await enter('i-new')
  await time.advance(minutes(9))
  expect(await tokens.useJoin(token, 'i-new')).toMatchObject({ instanceId: 'i-new' })
  await expect(tokens.useJoin(token, 'i-before')).rejects.toThrow('was used before')
  await time.advance(minutes(2))
  await expect(tokens.useJoin(token, 'i-new')).rejects.toThrow('was used before')
})

test('an operator token does not join, and a join token does not operate', async () => {
  const { tokens } = bench()
  const operator = await tokens.createOperator('ada', 'admin', undefined)
  const join = await tokens.createJoin({ agentId: 'a', replicaId: null, instanceId: null }, hours(1))
  await expect(tokens.useJoin(operator, 'i-1')).rejects.toThrow('unknown')
  expect(await tokens.findOperator(join)).toBeUndefined()
})
