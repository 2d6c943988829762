import http from 'node:http'
import https from 'node:https'
import { AppError, type ErrorCode, errorCodes, messageOf } from '@understudy/shared/core/app-error'
import { problemSchema } from '@understudy/shared/protocol/problem'

const TIMEOUT = 10_000
const MAX_ANSWER = 1024 * 1024

export interface PostOptions {
  /** The credential of this instance. */
  readonly credential?: string
  readonly signal?: AbortSignal
}

/**
 * Posts JSON to the coordinator and returns the parsed answer.
 * @throws AppError with the coordinator's own code and hint, or `unavailable` (retryable) when there is no answer
 */
export const postJson = (url: string, body: unknown, options: PostOptions = {}): Promise<unknown> =>
  exchange('POST', url, JSON.stringify(body), options)

/** The same without a body. @throws AppError like `postJson` */
export const getJson = (url: string, options: PostOptions = {}): Promise<unknown> =>
  exchange('GET', url, undefined, options)

function exchange(
  method: 'GET' | 'POST',
  url: string,
  text: string | undefined,
  { credential, signal }: PostOptions,
): Promise<unknown> {
  const { request } = url.startsWith('https:') ? https : http
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        method,
        agent: false,
        timeout: TIMEOUT,
        headers: {
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
        },
        ...(signal ? { signal } : {}),
      },
      (response) => {
        let answer = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => {
          answer += part
          if (answer.length > MAX_ANSWER) outgoing.destroy(new Error('the answer is too long'))
        })
        response.on('end', () => {
          const { statusCode = 0 } = response
          const parsed = parseJson(answer)
          if (statusCode >= 200 && statusCode < 300) resolve(parsed)
          else reject(toAppError(statusCode, parsed))
        })
      },
    )
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${TIMEOUT / 1000} s`)))
    outgoing.on('error', (error) => reject(unanswered(url, error)))
    outgoing.end(text)
  })
}

const unanswered = (url: string, cause: unknown): AppError =>
  new AppError('unavailable', `the coordinator at ${url} does not answer (${messageOf(cause)})`, {
    hint: 'Check COORDINATOR_URL, and that the coordinator runs and can be reached from here.',
    retryable: true,
    cause,
  })

function toAppError(status: number, answer: unknown): AppError {
  const problem = problemSchema.safeParse(answer)
  if (!problem.success)
    return new AppError('unavailable', `the coordinator answers ${status}`, {
      hint: 'Check that COORDINATOR_URL is an Understudy coordinator.',
      retryable: status >= 500,
    })
  const { code, detail, hint, errors } = problem.data
  return new AppError(code in errorCodes ? (code as ErrorCode) : 'internal', detail, {
    hint,
    errors,
    retryable: status >= 500,
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** One GET, for a check by hand. @throws AppError `unavailable` */
export function probe(url: string): Promise<{ status: number; millis: number }> {
  const { request } = url.startsWith('https:') ? https : http
  const started = performance.now()
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { agent: false, timeout: TIMEOUT }, (response) => {
      response.resume()
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, millis: performance.now() - started }),
      )
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${TIMEOUT / 1000} s`)))
    outgoing.on('error', (error) => reject(unanswered(url, error)))
    outgoing.end()
  })
}
