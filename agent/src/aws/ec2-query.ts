import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import {
  between,
  type Clock,
  type Instant,
  instant,
  type Millis,
  millis,
  plus,
} from '@understudy/shared/core/time'
import { type Ec2Failure, failureOf, mayBeTheClock, mayBeTheCredentials, toAppError } from './ec2-errors.ts'
import type { RoleCredentials } from './role-credentials.ts'
import { signV4 } from './sigv4.ts'
import { parseXml, type XmlElement } from './xml.ts'

/** The version of the EC2 API: the date that it is named by. */
const API_VERSION = '2016-11-15'
/** One exchange, from connecting to the last byte, in milliseconds. */
const TIMEOUT = 10_000
/** A page of 1,000 prices has some 300 KiB. */
const MAX_ANSWER = 4 * 1024 * 1024
/** AWS takes five minutes; from here on its time is used instead of ours. */
const SKEW_THAT_COUNTS = millis(60_000)

/** Signed calls of the EC2 Query API with the role of this instance. */
export interface Ec2Query {
  /**
   * The answer's root element.
   * @throws AppError `forbidden` (the action is not allowed), `unauthenticated`, `unavailable` (retryable where that
   * can help), `input_invalid`, `protocol`, and those of the metadata service
   */
  call(
    action: string,
    parameters: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<XmlElement>
  /** The time of AWS: ours, unless that has been seen to be wrong. */
  now(): Instant
  /** By how much it is ahead of ours; a call may find that out. */
  readonly skew: Millis
  /** For messages. */
  readonly endpoint: string
}

interface Answer extends Ec2Failure {
  readonly body: string
  /** By the clock of AWS. */
  readonly date: Instant | undefined
}

/** `fetch` is Node's own undici: the package of that name would take another 11 MiB. */
export function createEc2Query(parts: {
  readonly endpoint: string
  readonly region: string
  readonly credentials: RoleCredentials
  readonly clock: Clock
  readonly fetch?: typeof globalThis.fetch
}): Ec2Query {
  const { region, credentials, clock } = parts
  const url = new URL(parts.endpoint)
  let skew = millis(0)

  const now = (): Instant => plus(clock.now(), skew)

  async function ask(body: string, signal: AbortSignal | undefined): Promise<Answer> {
    const keys = await credentials.current(now(), signal)
    const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }
    const signature = signV4(
      { method: 'POST', host: url.host, headers, body },
      keys,
      { region, service: 'ec2' },
      now(),
    )
    const limit = AbortSignal.timeout(TIMEOUT)
    try {
      const response = await (parts.fetch ?? globalThis.fetch)(url, {
        method: 'POST',
        headers: { ...headers, ...signature },
        body,
        redirect: 'manual',
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      })
      const text = await readText(response)
      const code = response.ok ? '' : failureOf(response.status, text).code
      return { status: response.status, code, body: text, date: dateOf(response) }
    } catch (error) {
      if (signal?.aborted || error instanceof AppError) throw error
      throw unanswered(url, error)
    }
  }

  /** Whether the same call is worth repeating: the clock was wrong, or the credentials were. Once for each. */
  function mend(answer: Answer, mended: Set<'clock' | 'credentials'>): boolean {
    const seen = answer.date === undefined ? millis(0) : between(clock.now(), answer.date)
    if (mayBeTheClock(answer) && !mended.has('clock') && differs(seen, skew)) {
      mended.add('clock')
      skew = Math.abs(seen) < SKEW_THAT_COUNTS ? millis(0) : seen
      return true
    }
    if (!mayBeTheCredentials(answer) || mended.has('credentials')) return false
    mended.add('credentials')
    credentials.forget()
    return true
  }

  return {
    endpoint: url.origin,
    now,
    get skew() {
      return skew
    },
    async call(action, parameters, signal) {
      const body = new URLSearchParams({ Action: action, Version: API_VERSION, ...parameters }).toString()
      const mended = new Set<'clock' | 'credentials'>()
      for (;;) {
        const answer = await ask(body, signal)
        if (answer.status === 200) return parseXml(answer.body)
        if (mend(answer, mended)) continue
        throw toAppError(answer, action, credentials.role ? `the role ${credentials.role}` : 'this instance')
      }
    },
  }
}

const differs = (a: Millis, b: Millis): boolean => Math.abs(a - b) > SKEW_THAT_COUNTS

function dateOf(response: Response): Instant | undefined {
  const time = Date.parse(response.headers.get('date') ?? '')
  return Number.isNaN(time) ? undefined : instant(time)
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const part of response.body ?? []) {
    text += decoder.decode(part, { stream: true })
    if (text.length > MAX_ANSWER)
      throw new AppError('protocol', `EC2 answers with more than ${MAX_ANSWER} characters`)
  }
  return text + decoder.decode()
}

const unanswered = (url: URL, error: unknown): AppError => {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  return new AppError(
    'unavailable',
    `EC2 at ${url.origin} does not answer (${systemCodeOf(cause) ?? messageOf(cause)})`,
    {
      hint: 'Open the way to it: a NAT gateway, or a VPC endpoint for EC2 (com.amazonaws.<region>.ec2), and name that with ec2_endpoint.',
      retryable: true,
      cause,
    },
  )
}
