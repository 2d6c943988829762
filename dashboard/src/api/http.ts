import type { Problem } from '@understudy/shared/protocol/problem'

/**
 * Why a call has no result. `refused`: the coordinator said no, and nothing has happened. `unknown`: nobody can say
 * whether it has happened; that is never shown as a failure.
 */
export interface Failure {
  readonly kind: 'refused' | 'unknown'
  readonly status: number | undefined
  readonly title: string
  readonly detail: string
  readonly hint: string | undefined
  readonly code: string | undefined
  readonly facts: Readonly<Record<string, unknown>>
  /** Where what was sent is wrong. */
  readonly errors?: Problem['errors']
}

export type Answer<T> =
  | { readonly ok: true; readonly status: number; readonly body: T }
  | (Failure & { readonly ok: false })

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly body?: unknown
  /** The same key is the same wish: it is carried out once, however often it is sent. */
  readonly key?: string
  readonly timeoutMillis?: number
}

/** Calls of the coordinator's API. It never throws: every ending is a value. */
export type Http = <T>(call: Call) => Promise<Answer<T>>

const READ_TIMEOUT = 10_000
/** The coordinator itself answers after 25 s, whatever is going on. */
const WRITE_TIMEOUT = 30_000

export function createHttp(fetch: typeof globalThis.fetch, onSignedOut: () => void): Http {
  return async <T>(call: Call): Promise<Answer<T>> => {
    const timeout = call.timeoutMillis ?? (call.method === 'GET' ? READ_TIMEOUT : WRITE_TIMEOUT)
    const signal = AbortSignal.timeout(timeout)
    try {
      const response = await fetch(call.path, {
        method: call.method,
        headers: {
          accept: 'application/json',
          ...(call.method === 'GET' ? {} : { 'content-type': 'application/json' }),
          ...(call.key === undefined ? {} : { 'idempotency-key': call.key }),
        },
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
        signal,
      })
      const text = await response.text()
      if (response.ok) return { ok: true, status: response.status, body: parseJson(text) as T }
      if (response.status === 401) onSignedOut()
      return { ok: false, ...failureOf(response.status, parseJson(text)) }
    } catch {
      return { ok: false, ...unanswered(signal.aborted, timeout) }
    }
  }
}

/** After these the request may have been carried out all the same. */
const OUTCOME_UNKNOWN: ReadonlySet<number> = new Set([500, 502, 504])

export function failureOf(status: number, body: unknown): Failure {
  const problem = isProblem(body) ? body : undefined
  const unknown = OUTCOME_UNKNOWN.has(status) || (status >= 500 && !problem)
  return {
    kind: unknown ? 'unknown' : 'refused',
    status,
    title: problem?.title ?? 'Not possible',
    detail: problem?.detail ?? `the coordinator answered with status ${status}`,
    hint: problem?.hint,
    code: problem?.code,
    facts: problem?.facts ?? {},
    errors: problem?.errors ?? [],
  }
}

function unanswered(late: boolean, timeout: number): Failure {
  return {
    kind: 'unknown',
    status: undefined,
    title: 'No answer',
    detail: late
      ? `the coordinator has not answered for ${timeout / 1000} s`
      : 'the coordinator could not be reached',
    hint: undefined,
    code: undefined,
    facts: {},
  }
}

const isProblem = (body: unknown): body is Problem =>
  typeof body === 'object' && body !== null && 'detail' in body && 'code' in body

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** For `Call.key`. Not randomUUID, which a page without TLS does not have. */
export const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('-')
