import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { toProblem } from '@understudy/shared/protocol/problem'
import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { Logger } from 'pino'
import type { z } from 'zod'

/** Every error leaves as a problem document; what is not expected is logged with its stack and told without it. */
export function toProblemResponse(error: unknown, c: Context, log: Logger): Response {
  const known = asAppError(error)
  if (!known) log.error({ event: 'http.bug', err: error, path: c.req.path })
  const problem = toProblem(known ?? new AppError('internal', 'an unexpected error; the log has its cause'))
  return c.body(JSON.stringify(problem), problem.status as 400, {
    'content-type': 'application/problem+json',
  })
}

function asAppError(error: unknown): AppError | undefined {
  if (isAppError(error)) return error
  if (!(error instanceof HTTPException)) return undefined
  if (error.status === 400)
    return new AppError('input_invalid', messageOf(error) || 'the body is not valid JSON')
  if (error.status === 413) return new AppError('payload_too_large', 'the body is too large')
  return undefined
}

/** Names every place that is wrong; an unknown key is named as such. `within` is where what was checked lies in the body. */
export function invalidInput(error: z.core.$ZodError, target: string, within = ''): AppError {
  const errors = error.issues.flatMap((issue) => {
    const base = within + issue.path.map((part) => `/${String(part)}`).join('')
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ pointer: `${base}/${key}`, message: 'unknown key' }))
    return [{ pointer: base, message: issue.message }]
  })
  const text = errors.map(({ pointer, message }) => `${pointer || '/'}: ${message}`).join('; ')
  return new AppError('input_invalid', `the ${target} is not valid: ${text}`, { errors })
}
