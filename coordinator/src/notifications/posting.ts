import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import { type Clock, type Millis, seconds } from '@understudy/shared/core/time'
import { type Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici'
import { attemptOf, type Message, outgoingOf } from './bodies.ts'
import { guardedLookup, isLocalHost } from './local-addresses.ts'
import type { Receiver } from './receivers.ts'
import { type Attempt, parseRetryAfter } from './retries.ts'

/** From the first byte to the last. */
const TIME_LIMIT = seconds(10)
/** More of an answer than this is not read. */
const MOST_READ = 16 * 1024

/** Makes one attempt. It never throws: what went wrong is in the attempt. */
export interface Poster {
  post(receiver: Receiver, message: Message, signal: AbortSignal): Promise<Attempt>
  close(): Promise<void>
}

/** Where a proxy is; what is not said is taken from HTTP_PROXY, HTTPS_PROXY and NO_PROXY. */
export interface ProxySettings {
  readonly httpProxy?: string
  readonly httpsProxy?: string
  readonly noProxy?: string
}

export function createPoster(
  clock: Clock,
  proxies: ProxySettings = {},
  timeLimit: Millis = TIME_LIMIT,
): Poster {
  const options: Agent.Options = { connections: 1, pipelining: 1, maxHeaderSize: MOST_READ, allowH2: false }
  const open: { anywhere?: Dispatcher; guarded?: Dispatcher } = {}
  /** Made when it is first needed: a proxy that cannot be one is trouble of who is told something, and of nobody else. */
  const dispatcherOf = ({ allowLocal }: Receiver): Dispatcher => {
    // A proxy looks names up itself; it may well be on this machine.
    const connect = allowLocal ? {} : { connect: { lookup: guardedLookup() } }
    const which = allowLocal ? 'anywhere' : 'guarded'
    const dispatcher = open[which] ?? new EnvHttpProxyAgent({ ...options, ...proxies, ...connect })
    open[which] = dispatcher
    return dispatcher
  }

  return {
    async post(receiver, message, signal) {
      const failed = (error: string): Attempt => ({
        ok: false,
        status: null,
        error,
        retryAfter: null,
        ref: null,
      })
      if (!receiver.allowLocal && isLocalHost(new URL(receiver.url).hostname))
        return failed('its address is this machine or its link')
      const limit = AbortSignal.timeout(timeLimit)
      try {
        const answer = await request(receiver.url, {
          method: 'POST',
          ...outgoingOf(receiver, message, clock.now()),
          dispatcher: dispatcherOf(receiver),
          signal: AbortSignal.any([signal, limit]),
        })
        return attemptOf(receiver, {
          status: answer.statusCode,
          body: await readSome(answer.body),
          retryAfter: parseRetryAfter(firstOf(answer.headers['retry-after']), clock.now()),
        })
      } catch (error) {
        if (signal.aborted) throw signal.reason
        if (limit.aborted) return failed(`no answer within ${timeLimit / 1000} s`)
        return failed(whyOf(error))
      }
    },
    async close() {
      await Promise.all([open.anywhere?.destroy(), open.guarded?.destroy()])
    },
  }
}

const firstOf = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header[0] : header

/** The beginning is enough for what it says; the rest is thrown away unread. */
async function readSome(body: Dispatcher.ResponseData['body']): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of body as AsyncIterable<Buffer>) {
    parts.push(part)
    size += part.length
    if (size >= MOST_READ) break
  }
  return Buffer.concat(parts).subarray(0, MOST_READ).toString('utf8')
}

/** Of several addresses the reason of each may be another one. */
function whyOf(error: unknown): string {
  if (isAppError(error)) return error.message
  if (error instanceof AggregateError) return [...new Set(error.errors.map(messageOf))].join('; ')
  return messageOf(error).slice(0, 300)
}
