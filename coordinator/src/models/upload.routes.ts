import type { ReadableStream } from 'node:stream/web'
import { AppError } from '@understudy/shared/core/app-error'
import type { Context } from 'hono'
import type { z } from 'zod'
import { type AppEnv, type Audit, actorOf } from '../http/http.ts'
import type { Models } from './models.ts'

/**
 * Hands the body over as it comes. The key of an upload is kept with its session rather than by the general rule, which
 * would have to read the whole body first; the same bytes are the same version in any case.
 */
export const uploadHandler =
  (models: Models, audit: Audit, query: z.ZodType<{ session_id?: string | undefined }>) =>
  async (c: Context<AppEnv>): Promise<Response> => {
    const parsed = query.safeParse(c.req.query())
    if (!parsed.success)
      throw new AppError('input_invalid', 'session_id must be a UUID', {
        errors: [{ pointer: '/session_id', message: 'a session id is a UUID' }],
      })
    const actor = actorOf(c.get('principal'))
    const length = c.req.header('content-length')
    const result = await models.upload({
      actor,
      sessionId: parsed.data.session_id,
      total: length !== undefined && /^\d{1,12}$/.test(length) ? Number(length) : null,
      key: c.req.header('idempotency-key')?.slice(0, 200) ?? null,
      contentType: c.req.header('content-type') ?? '',
      body: c.req.raw.body as ReadableStream<Uint8Array> | null,
    })
    await audit.record({
      actor,
      action: 'model.upload',
      object: result.model_id,
      after: { name: result.name, version: result.version, sha256: result.sha256, created: result.created },
    })
    return c.json(result, result.created ? 201 : 200)
  }
