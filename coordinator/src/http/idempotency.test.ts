import { hours, seconds, systemClock } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { Hono, type MiddlewareHandler } from 'hono'
import { expect, onTestFinished, test } from 'vitest'
import { openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import type { AppEnv } from './env.ts'
import { createIdempotency } from './idempotency.ts'
import type { Principal } from './tokens.ts'

const ada: Principal = { kind: 'operator', name: 'ada', role: 'operator', viaCookie: false }

test('a command that holds a join token is shown once, and kept without it', async () => {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  await migrate(database.db)
  const app = appOf(createIdempotency(database.db, systemClock), ada)
  app.post('/replicas', (c) =>
    c.json({ replica_id: 'r1', join_command: 'JOIN_TOKEN=us_"quoted" run', choice: [] }),
  )
  const ask = () => app.request('/replicas', { method: 'POST', headers: { 'idempotency-key': 'k' } })
  expect(await (await ask()).json()).toMatchObject({ join_command: 'JOIN_TOKEN=us_"quoted" run' })
  expect(await (await ask()).json()).toEqual({ replica_id: 'r1', join_command: null, choice: [] })
  const kept = await database.db.selectFrom('idempotency_keys').selectAll().execute()
  expect(JSON.stringify(kept)).not.toContain('us_')
})

test('of two calls with one key at the same time one is carried out, and both get its answer', async () => {
  const { app, ask, calls } = await counting()
  app.post('/orders', async (c) => c.json({ n: await calls.next() }))
  const both = await Promise.all([ask(), ask()])
  expect(await Promise.all(both.map((answer) => answer.json()))).toEqual([{ n: 1 }, { n: 1 }])
  expect(calls.count).toBe(1)
})

test('those that wait for a call that fails are carried out one after the other', async () => {
  const { app, ask, calls } = await counting()
  app.post('/orders', async (c) => {
    const n = await calls.next()
    return c.json({ n }, n === 1 ? 503 : 200)
  })
  const all = await Promise.all([ask(), ask(), ask()])
  expect(all.map(({ status }) => status)).toEqual([503, 200, 200])
  expect(calls.count).toBe(2)
})

test('an answer is kept for a day, and then no longer', async () => {
  const { app, ask, calls, time, db } = await counting()
  app.post('/orders', async (c) => c.json({ n: await calls.next() }))
  for (const hour of [0, 23, 25]) {
    await time.advance(hours(hour) - time.clock.mono())
    await ask(`of hour ${hour}`)
    await ask('first')
  }
  expect(calls.count).toBe(5)
  const kept = await db.selectFrom('idempotency_keys').select('key').orderBy('key').execute()
  expect(kept.map(({ key }) => key)).toEqual(['first', 'of hour 23', 'of hour 25'])
})

test('what has ended is not found any more, and is removed once a minute at most', async () => {
  const { app, ask, calls, time, db } = await counting()
  app.post('/orders', async (c) => c.json({ n: await calls.next() }))
  const keys = async () => {
    const rows = await db.selectFrom('idempotency_keys').select('key').orderBy('created_at').execute()
    return rows.map(({ key }) => key)
  }
  await ask('1 at 0 s')
  await time.advance(seconds(30))
  await ask('2 at 30 s')
  await ask('3 at 30 s')
  await time.advance(hours(24) - 30_000)
  await ask('4 a day later')
  expect(await keys()).toEqual(['2 at 30 s', '3 at 30 s', '4 a day later'])
  await time.advance(seconds(30))
  expect(await (await ask('3 at 30 s')).json()).toEqual({ n: 5 })
  expect(await keys()).toEqual(['2 at 30 s', '4 a day later', '3 at 30 s'])
  await time.advance(seconds(30))
  await ask('5 a minute later')
  expect(await keys()).toEqual(['4 a day later', '3 at 30 s', '5 a minute later'])
})

test('of a caller that nobody knows nothing is kept, and each call is answered by itself', async () => {
  const { app, ask, calls, db } = await counting({ principal: undefined })
  app.post('/orders', async (c) => c.json({ n: await calls.next() }, 401))
  for (const key of ['a', 'b', 'a']) expect((await ask(key)).status).toBe(401)
  expect(calls.count).toBe(3)
  expect(await db.selectFrom('idempotency_keys').selectAll().execute()).toEqual([])
})

function appOf(idempotency: MiddlewareHandler<AppEnv>, principal: Principal | undefined) {
  const app = new Hono<AppEnv>()
  app.use((c, next) => {
    c.set('principal', principal)
    return next()
  })
  app.use(idempotency)
  return app
}

async function counting({ principal }: { readonly principal: Principal | undefined } = { principal: ada }) {
  const time = createVirtualTime()
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  await migrate(database.db)
  const app = appOf(createIdempotency(database.db, time.clock), principal)
  const calls = {
    count: 0,
    /** Not done at once, so that another could come between. */
    async next() {
      calls.count += 1
      const n = calls.count
      await database.db.selectFrom('clients').selectAll().execute()
      return n
    },
  }
  const ask = (key = 'k') => app.request('/orders', { method: 'POST', headers: { 'idempotency-key': key } })
  return { app, ask, calls, time, db: database.db }
}
