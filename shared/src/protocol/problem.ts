import { z } from 'zod'
import { type AppError, errorCodes } from '../core/app-error.ts'

/** Every error answer: RFC 9457, with our code and the places where the input was wrong. */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    hint: z.string().optional(),
    errors: z.array(z.object({ pointer: z.string(), message: z.string() })),
    /** Facts that have changed since the caller last looked, such as the current epoch. */
    facts: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'Problem' })
export type Problem = z.infer<typeof problemSchema>

const titles: Readonly<Record<number, string>> = {
  400: 'The request is not valid',
  401: 'Not signed in',
  403: 'Not allowed',
  404: 'Not found',
  409: 'Not possible now',
  413: 'Too large',
  422: 'Refused',
  500: 'Something went wrong',
  501: 'Not supported',
  503: 'Not available now',
  504: 'The outcome is not known',
  507: 'No space left',
}

/** What an error looks like to whoever asked. */
export function toProblem(error: AppError): Problem {
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
