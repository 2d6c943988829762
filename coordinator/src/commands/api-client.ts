import { readFileSync } from 'node:fs'
import { AppError, type ErrorCode, errorCodes, messageOf } from '@understudy/shared/core/app-error'
import { problemSchema } from '@understudy/shared/protocol/problem'
import type { z } from 'zod'

/** The API of a coordinator that runs, for commands that ask it rather than its database. */
export interface ApiClient {
  readonly url: string
  /** @throws AppError the coordinator's own, or `unavailable` when it does not answer as one */
  call<S extends z.ZodType>(
    method: 'GET' | 'POST',
    path: string,
    answer: S,
    signal?: AbortSignal,
  ): Promise<z.infer<S>>
}

/** Where a coordinator that nobody names is asked for. */
const DEFAULT_URL = 'http://127.0.0.1:8000'
/** A cycle over a large fleet takes seconds. */
const TIMEOUT = 120_000
const URL_NAMES = '--url or COORDINATOR_URL'
const TOKEN_NAMES = '--token-file, COORDINATOR_TOKEN or COORDINATOR_TOKEN_FILE'

/**
 * By the flags `--url` and `--token-file`, else by the environment. The token itself is no flag: whoever lists the processes of
 * a machine would see it. Without one the demo can be asked, whose doors are open.
 * @throws AppError `input_invalid`
 */
export function openApiClient(
  flags: { readonly url?: unknown; readonly 'token-file'?: unknown },
  env: Readonly<Record<string, string | undefined>>,
): ApiClient {
  const url = urlOf(flags.url ?? (env.COORDINATOR_URL || DEFAULT_URL))
  const token = tokenOf(flags['token-file'], env)
  return {
    url,
    async call(method, path, answer, signal) {
      const response = await send(`${url}${path}`, {
        method,
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        // The token is for that address and no other.
        redirect: 'error',
        signal: AbortSignal.any([AbortSignal.timeout(TIMEOUT), ...(signal ? [signal] : [])]),
      })
      if (!response.ok) throw toAppError(url, response.status, response.body, token !== undefined)
      const parsed = answer.safeParse(response.body)
      if (parsed.success) return parsed.data
      throw new AppError('unavailable', `${url} answers ${path} otherwise than this program expects`, {
        hint: `Check that ${URL_NAMES} is an Understudy coordinator of this version.`,
        cause: parsed.error,
      })
    },
  }
}

function urlOf(said: unknown): string {
  const text = String(said)
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url && /^https?:$/.test(url.protocol) && url.username === '' && url.search === '')
    return url.href.replace(/\/+$/, '')
  throw new AppError('input_invalid', `"${text}" is no address of a coordinator`, {
    hint: `Set ${URL_NAMES} to an address such as ${DEFAULT_URL}.`,
  })
}

function tokenOf(file: unknown, env: Readonly<Record<string, string | undefined>>): string | undefined {
  const path = typeof file === 'string' ? file : undefined
  if (path === undefined && env.COORDINATOR_TOKEN) return checked(env.COORDINATOR_TOKEN, 'COORDINATOR_TOKEN')
  const named = path ?? (env.COORDINATOR_TOKEN_FILE || undefined)
  if (named === undefined) return undefined
  let text: string
  try {
    text = readFileSync(named, 'utf8')
  } catch (cause) {
    throw new AppError('input_invalid', `the token file ${named} cannot be read (${messageOf(cause)})`, {
      cause,
    })
  }
  return checked(text, named)
}

/** What a header can hold. The value is never shown. */
function checked(text: string, where: string): string {
  const token = text.trim()
  if (/^[\x21-\x7e]+$/.test(token)) return token
  throw new AppError('input_invalid', `${where} holds no token`, {
    hint: 'It must be one line: what `coordinator token create` has printed.',
  })
}

async function send(
  url: string,
  request: RequestInit,
): Promise<{ ok: boolean; status: number; body: unknown }> {
  try {
    const response = await fetch(url, request)
    const text = await response.text()
    return { ok: response.ok, status: response.status, body: parseJson(text) }
  } catch (cause) {
    const why = cause instanceof Error && cause.cause ? messageOf(cause.cause) : messageOf(cause)
    throw new AppError('unavailable', `the coordinator at ${url} does not answer (${why})`, {
      hint: `Check ${URL_NAMES}, and that the coordinator runs and can be reached from here.`,
      retryable: true,
      cause,
    })
  }
}

function toAppError(url: string, status: number, body: unknown, hasToken: boolean): AppError {
  const problem = problemSchema.safeParse(body)
  if (!problem.success)
    return new AppError('unavailable', `${url} answers ${status}`, {
      hint: `Check that ${URL_NAMES} is an Understudy coordinator.`,
      retryable: status >= 500,
    })
  const { code, detail, hint, errors } = problem.data
  const known = code in errorCodes ? (code as ErrorCode) : 'internal'
  return new AppError(known, detail, {
    hint: known === 'unauthenticated' ? tokenHint(hasToken) : hint,
    errors,
    retryable: status >= 500,
  })
}

const tokenHint = (hasToken: boolean): string =>
  hasToken
    ? 'The token is not valid any more: coordinator token create --name me --role operator makes one.'
    : `Give a token by ${TOKEN_NAMES}: coordinator token create --name me --role operator makes one.`

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
