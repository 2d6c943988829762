import http from 'node:http'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import { between, type Clock, type Mono, millis, plus, sleep } from '@understudy/shared/core/time'

/** The address of the instance metadata service on every EC2 instance. */
export const IMDS_DEFAULT_ENDPOINT = 'http://169.254.169.254'

/** The longest life that EC2 gives a token. */
const TOKEN_TTL_SECONDS = 21_600
/** A token is replaced this long before it ends. */
const TOKEN_MARGIN = millis(60_000)
/** One exchange, from connecting to the last byte: a PUT that is dropped by the hop limit never answers. */
const TIMEOUT = millis(2000)
/** A read gives up after this, retries included: the watcher looks again anyway. */
const BUDGET = millis(5000)
const BACKOFF: BackoffPolicy = { base: millis(100), cap: millis(1000) }
/** No answer of the service is longer. */
const MAX_BODY = 64 * 1024

/**
 * Reads instance metadata with session tokens (IMDSv2), never without: where tokens cannot be had it says why instead
 * of falling back to version 1. Answers are taken by status alone, because the service labels JSON as text and closes
 * every connection.
 */
export interface ImdsClient {
  /**
   * The body at `/latest/<path>`, undefined for 404, which means "nothing of the kind now".
   * @throws AppError `imds_unreachable` (retryable), `imds_hop_limit`, `imds_forbidden`, `imds_unusable`
   */
  get(path: string, signal?: AbortSignal): Promise<string | undefined>
}

interface Answer {
  readonly status: number
  readonly body: string
}

export function createImdsClient(endpoint: string, clock: Clock, random: Random): ImdsClient {
  const base = endpoint.replace(/\/+$/, '')
  let token: { readonly value: string; readonly until: Mono } | undefined
  let pending: Promise<string> | undefined

  async function fetchToken(signal: AbortSignal | undefined): Promise<string> {
    const answer = await exchange(base, 'PUT', 'api/token', tokenRequest, signal).catch((error: unknown) => {
      throw isTimeout(error) ? hopLimit(endpoint, error) : error
    })
    if (answer.status === 200 && answer.body.length > 0 && isHeaderValue(answer.body)) {
      token = {
        value: answer.body,
        until: plus(clock.mono(), millis(TOKEN_TTL_SECONDS * 1000 - TOKEN_MARGIN)),
      }
      return answer.body
    }
    if (answer.status >= 500) throw serverError(answer.status)
    if (answer.status === 403) throw forbidden(endpoint)
    throw noTokens(endpoint, answer)
  }

  /** Callers that come while a token is on its way share it. */
  async function currentToken(signal: AbortSignal | undefined): Promise<string> {
    if (token && clock.mono() < token.until) return token.value
    pending ??= fetchToken(signal).finally(() => {
      pending = undefined
    })
    return pending
  }

  async function getOnce(path: string, signal: AbortSignal | undefined): Promise<string | undefined> {
    const value = await currentToken(signal)
    const answer = await ask(path, value, signal)
    if (answer.status !== 401) return bodyOf(path, answer)
    // Expired, or the instance was restored elsewhere: one new token replaces it.
    if (token?.value === value) token = undefined
    return bodyOf(path, await ask(path, await currentToken(signal), signal))
  }

  const ask = (path: string, value: string, signal: AbortSignal | undefined) =>
    exchange(base, 'GET', path, { 'x-aws-ec2-metadata-token': value }, signal)

  /** What an answer means: a body, undefined for what is not there, or an error. */
  function bodyOf(path: string, { status, body }: Answer): string | undefined {
    if (status === 200) return body
    if (status === 404) return undefined
    if (status === 403) throw forbidden(endpoint)
    if (status >= 500 || status === 429) throw serverError(status)
    throw new AppError('imds_unusable', `the metadata service answers ${status} for /latest/${path}`, {
      hint: `Check that ${endpoint} is an instance metadata service.`,
    })
  }

  return {
    async get(path, signal) {
      const deadline = plus(clock.mono(), BUDGET)
      for (let attempt = 0; ; attempt += 1) {
        try {
          return await getOnce(path, signal)
        } catch (error) {
          const wait = fullJitter(BACKOFF, attempt, random)
          const retryable = error instanceof AppError && error.retryable && error.code !== 'imds_hop_limit'
          if (!retryable || between(clock.mono(), deadline) <= wait || signal?.aborted) throw error
          await sleep(clock, wait, signal)
        }
      }
    },
  }
}

const tokenRequest = { 'x-aws-ec2-metadata-token-ttl-seconds': String(TOKEN_TTL_SECONDS) }

/** What may stand in a header: a token with a line break in it is not one. */
const isHeaderValue = (text: string): boolean => /^[\x21-\x7e]{1,4096}$/.test(text)

class TimedOut extends Error {}
const isTimeout = (error: unknown): boolean => error instanceof AppError && error.cause instanceof TimedOut

/** One request on a connection of its own. Throws AppError `imds_unreachable` when there is no answer. */
function exchange(
  base: string,
  method: 'GET' | 'PUT',
  path: string,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      clearTimeout(timer)
      reject(signal?.aborted ? signal.reason : unreachable(base, cause))
    }
    const outgoing = http.request(
      `${base}/latest/${path}`,
      { method, headers: { ...headers, accept: '*/*' }, agent: false, ...(signal ? { signal } : {}) },
      (response) => {
        const parts: Buffer[] = []
        let bytes = 0
        response.on('data', (part: Buffer) => {
          bytes += part.length
          if (bytes <= MAX_BODY) return void parts.push(part)
          clearTimeout(timer)
          reject(tooLong(base, path))
          outgoing.destroy()
        })
        response.on('end', () => {
          clearTimeout(timer)
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') })
        })
        response.on('error', fail)
      },
    )
    const timer = setTimeout(() => outgoing.destroy(new TimedOut(`no answer within ${TIMEOUT} ms`)), TIMEOUT)
    outgoing.on('error', fail)
    outgoing.end()
  })
}

const unreachable = (base: string, cause: unknown): AppError =>
  new AppError(
    'imds_unreachable',
    `the metadata service at ${base} does not answer (${systemCodeOf(cause) ?? messageOf(cause)})`,
    {
      hint: 'On EC2 check that instance metadata is enabled and no firewall drops 169.254.169.254; elsewhere set IMDS_ENDPOINT.',
      retryable: true,
      cause,
    },
  )

const tooLong = (base: string, path: string): AppError =>
  new AppError(
    'imds_unusable',
    `the answer of ${base} for /latest/${path} is longer than ${MAX_BODY} bytes`,
    {
      hint: `Check that ${base} is an instance metadata service.`,
    },
  )

const hopLimit = (endpoint: string, cause: unknown): AppError =>
  new AppError('imds_hop_limit', `the request for a token at ${endpoint} was not answered`, {
    hint: 'In a container the default hop limit of 1 drops the answer: aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2',
    retryable: true,
    cause,
  })

const forbidden = (endpoint: string): AppError =>
  new AppError('imds_forbidden', `the metadata service at ${endpoint} refuses (403)`, {
    hint: 'Metadata is turned off for this instance: aws ec2 modify-instance-metadata-options --http-endpoint enabled',
  })

const serverError = (status: number): AppError =>
  new AppError('imds_unreachable', `the metadata service answers ${status}`, {
    hint: 'It is throttling or restarting; the agent tries again by itself.',
    retryable: true,
  })

const noTokens = (endpoint: string, { status }: Answer): AppError =>
  new AppError('imds_unusable', `${endpoint} gives no session token (${status})`, {
    hint: 'It speaks only version 1 of the protocol. Version 1 is not used, because any program that can make this host fetch a URL could read it.',
  })
