import { AppError, errorCodes, isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Problem } from '@understudy/shared/protocol/problem'
import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { Logger } from 'pino'
import type { z } from 'zod'

const titles: Readonly<Record<number, string>> = {
  400: 'The request is not valid',
  401: 'Not signed in',
  403: 'Not allowed',
  404: 'Not found',
  409: 'Not possible now',
  413: 'Too large',
  500: 'Something went wrong',
  501: 'Not supported',
  503: 'Not available now',
  504: 'The outcome is not known',
  507: 'No space left',
}

/** Every error leaves as a problem document; what is not expected is logged with its stack and told without it. */
export function toProblemResponse(error: unknown, c: Context, log: Logger): Response {
  const known = asAppError(error)
  if (!known) log.error({ event: 'http.bug', err: error, path: c.req.path })
  const problem = problemOf(known ?? new AppError('internal', 'an unexpected error; the log has its cause'))
  return c.body(JSON.stringify(problem), problem.status as 400, {
    'content-type': 'application/problem+json',
  })
}

function problemOf(error: AppError): Problem {
  const { status } = errorCodes[error.code]
  return {
    type: `https://understudy.dev/problems/${error.code.replaceAll('_', '-')}`,
    title: titles[status] ?? 'Error',
    status,
    detail: error.message,
    code: error.code,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    errors: [...error.errors],
    ...(Object.keys(error.facts).length > 0 ? { facts: { ...error.facts } } : {}),
  }
}

function asAppError(error: unknown): AppError | undefined {
  if (isAppError(error)) return error
  if (!(error instanceof HTTPException)) return undefined
  if (error.status === 400)
    return new AppError('input_invalid', messageOf(error) || 'the body is not valid JSON')
  if (error.status === 413) return new AppError('payload_too_large', 'the body is too large')
  return undefined
}

/** Names every place that is wrong; an unknown key is named as such. */
export function invalidInput(error: z.core.$ZodError, target: string): AppError {
  const errors = error.issues.flatMap((issue) => {
    const base = issue.path.map((part) => `/${String(part)}`).join('')
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ pointer: `${base}/${key}`, message: 'unknown key' }))
    return [{ pointer: base, message: issue.message }]
  })
  const text = errors.map(({ pointer, message }) => `${pointer || '/'}: ${message}`).join('; ')
  return new AppError('input_invalid', `the ${target} is not valid: ${text}`, { errors })
}
