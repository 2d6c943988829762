import { createHash } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import { type Clock, type Instant, type Millis, minutes, plus } from '@understudy/shared/core/time'
import type { MiddlewareHandler } from 'hono'
import type { Kysely, Schema } from '../storage/database.ts'
import { actorOf } from './auth.ts'
import type { AppEnv } from './env.ts'

/** How long an answer is kept. */
const KEEP: Millis = (24 * 3600 * 1000) as Millis
/** How often those that were kept for longer are removed; they are not found anyway. */
const PURGE_EVERY = minutes(1)
const MAX_KEY = 200
/** Answers of these hold a secret that is shown once, so they are never kept. */
const NEVER_KEPT = /\/(enroll|session|tokens|join-tokens)$/

/**
 * `Idempotency-Key`: the same key from the same caller gets the same answer and does nothing a second time. With
 * another body it is refused. Answers of 5xx are not kept, so a retry may succeed. Nor is anything of a caller that nobody
 * knows: whoever can reach the port could fill the database.
 */
export function createIdempotency(db: Kysely<Schema>, clock: Clock): MiddlewareHandler<AppEnv> {
  const inLine = createLines()
  let purgeAt = clock.mono()

  async function purge(since: Instant): Promise<void> {
    const now = clock.mono()
    if (now < purgeAt) return
    purgeAt = plus(now, PURGE_EVERY)
    await db.deleteFrom('idempotency_keys').where('created_at', '<=', since).execute()
  }

  return async (c, next) => {
    const key = c.req.header('idempotency-key')
    const principal = c.get('principal')
    if (key === undefined || principal === undefined) return next()
    if (c.req.method === 'GET' || NEVER_KEPT.test(c.req.path)) return next()
    if (key.length === 0 || key.length > MAX_KEY)
      throw new AppError('input_invalid', `an Idempotency-Key has 1 to ${MAX_KEY} characters`)
    const actor = actorOf(principal)
    const hash = createHash('sha256')
      .update(`${c.req.method} ${c.req.path}\n`)
      .update(await c.req.text())
      .digest('hex')

    return inLine(`${actor}\n${key}`, async () => {
      const since = plus(clock.now(), -KEEP as Millis)
      const kept = await db
        .selectFrom('idempotency_keys')
        .selectAll()
        .where('key', '=', key)
        .where('actor', '=', actor)
        .where('created_at', '>', since)
        .executeTakeFirst()
      if (kept) {
        if (kept.request_hash !== hash)
          throw new AppError('conflict', 'this Idempotency-Key was used for another request', {
            hint: 'Use a new key for every new request.',
          })
        return c.body(kept.body, kept.status as 200, {
          'content-type': 'application/json',
          'idempotency-replayed': 'true',
        })
      }
      await next()
      if (c.res.status >= 500) return undefined
      const answer = {
        request_hash: hash,
        status: c.res.status,
        body: withoutSecrets(await c.res.clone().text()),
        created_at: clock.now(),
      }
      await purge(since)
      await db
        .insertInto('idempotency_keys')
        .values({ key, actor, ...answer })
        .onConflict((conflict) => conflict.columns(['key', 'actor']).doUpdateSet(answer))
        .execute()
      return undefined
    })
  }
}

/** Runs what has the same id one after the other. */
function createLines(): <T>(id: string, task: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<void>>()
  return async (id, task) => {
    const before = last.get(id)
    const own = Promise.withResolvers<void>()
    last.set(id, own.promise)
    await before
    try {
      return await task()
    } finally {
      if (last.get(id) === own.promise) last.delete(id)
      own.resolve()
    }
  }
}

/** Where instances are started by hand, the answer about a new replica has a token in the command to run there. */
const withoutSecrets = (body: string): string =>
  body.replace(/"join_command":"(?:[^"\\]|\\.)*"/, '"join_command":null')
