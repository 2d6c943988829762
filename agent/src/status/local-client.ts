import { request } from 'node:http'
import { AppError, type ErrorCode, errorCodes, systemCodeOf } from '@understudy/shared/core/app-error'
import type { Millis } from '@understudy/shared/core/time'
import { problemSchema } from '@understudy/shared/protocol/problem'

export interface LocalRequest {
  readonly socket: string
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: unknown
  /** How long the agent may say nothing. */
  readonly patience: Millis
}

/**
 * Asks the agent over one of its sockets and returns the parsed answer.
 * @throws AppError with the agent's own code and hint, `unavailable` when none answers, `protocol` for another program
 */
export function askAgent({ socket, method, path, body, patience }: LocalRequest): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const outgoing = request({ socketPath: socket, path, method, timeout: patience }, (response) => {
      let answer = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        answer += part
      })
      response.on('end', () => {
        try {
          const parsed: unknown = JSON.parse(answer)
          if (response.statusCode === 200) resolve(parsed)
          else reject(fromProblem(parsed))
        } catch (cause) {
          reject(new AppError('protocol', `the answer on ${socket} is not an agent's`, { cause }))
        }
      })
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${patience / 1000} s`)))
    outgoing.on('error', (cause) =>
      reject(
        new AppError(
          'unavailable',
          `no agent answers on ${socket} (${systemCodeOf(cause) ?? cause.message})`,
          {
            hint: 'Start it with `systemctl start understudy-agent`, or name its file with --config.',
            cause,
          },
        ),
      ),
    )
    outgoing.end(text)
  })
}

function fromProblem(answer: unknown): AppError {
  const { code, detail, hint, errors } = problemSchema.parse(answer)
  return new AppError(code in errorCodes ? (code as ErrorCode) : 'internal', detail, { hint, errors })
}
