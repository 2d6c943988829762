import { systemClock } from '@understudy/shared/core/time'
import { Hono } from 'hono'
import { expect, onTestFinished, test } from 'vitest'
import { openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import type { AppEnv } from './env.ts'
import { createIdempotency } from './idempotency.ts'

test('a command that holds a join token is shown once, and kept without it', async () => {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  await migrate(database.db)
  const app = new Hono<AppEnv>()
  app.use(createIdempotency(database.db, systemClock))
  app.post('/replicas', (c) =>
    c.json({ replica_id: 'r1', join_command: 'JOIN_TOKEN=us_"quoted" run', choice: [] }),
  )
  const ask = () => app.request('/replicas', { method: 'POST', headers: { 'idempotency-key': 'k' } })
  expect(await (await ask()).json()).toMatchObject({ join_command: 'JOIN_TOKEN=us_"quoted" run' })
  expect(await (await ask()).json()).toEqual({ replica_id: 'r1', join_command: null, choice: [] })
  const kept = await database.db.selectFrom('idempotency_keys').selectAll().execute()
  expect(JSON.stringify(kept)).not.toContain('us_')
})
