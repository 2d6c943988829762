import type { Instant } from '@understudy/shared/core/time'
import { z } from 'zod'
import type { Receiver } from './receivers.ts'
import type { Attempt } from './retries.ts'
import { signatureHeaders } from './signing.ts'

/** What is to be said, as it was written down. */
export interface Message {
  /** The same at every attempt. */
  readonly id: string
  readonly text: string
  /** JSON of a `NotificationPayload`. */
  readonly payload: string
  /** What the first message of its thread is called where it was sent. */
  readonly threadRef: string | null
}

export interface Outgoing {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** The request that says it to a receiver. */
export function outgoingOf({ target }: Receiver, message: Message, now: Instant): Outgoing {
  const json = { 'content-type': 'application/json; charset=utf-8', 'user-agent': 'understudy' }
  if (target.kind === 'slack') {
    const body = {
      channel: target.channel,
      text: message.text,
      unfurl_links: false,
      ...(message.threadRef === null ? {} : { thread_ts: message.threadRef }),
    }
    return { headers: { ...json, authorization: `Bearer ${target.token}` }, body: JSON.stringify(body) }
  }
  const body = target.format === 'slack' ? JSON.stringify({ text: message.text }) : message.payload
  return { headers: { ...json, ...signatureHeaders(message.id, now, body, target.secrets) }, body }
}

/** In Slack's text these three begin something; everything else is as it is. */
const escapeForSlack = (value: string): string =>
  value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

export const escapeFor = ({ target }: Receiver): ((value: string) => string) =>
  target.kind === 'slack' || target.format === 'slack' ? escapeForSlack : (value) => value

const slackAnswer = z.object({ ok: z.boolean(), ts: z.string().optional(), error: z.string().optional() })

/** What the answer of a receiver means. */
export function attemptOf(
  { target }: Receiver,
  answer: { readonly status: number; readonly body: string; readonly retryAfter: Attempt['retryAfter'] },
): Attempt {
  const { status, body, retryAfter } = answer
  const failed = (error: string): Attempt => ({ ok: false, status, error, retryAfter, ref: null })
  if (status >= 300 && status < 400) return failed(`it answers ${status}, and redirects are not followed`)
  if (status < 200 || status >= 300) return failed(`it answers ${status}${excerptOf(body)}`)
  if (target.kind !== 'slack') return { ok: true, status, error: null, retryAfter: null, ref: null }
  const said = slackAnswer.safeParse(parseJson(body))
  if (!said.success) return failed(`it answers ${status}, but not as Slack does`)
  if (!said.data.ok) return failed(`Slack refuses it: ${plain(said.data.error ?? 'no reason')}`)
  return { ok: true, status, error: null, retryAfter: null, ref: said.data.ts ?? null }
}

const excerptOf = (body: string): string => (body.trim() === '' ? '' : `: ${plain(body)}`)

/** Of somebody else's words, what may stand in a line of ours. */
const plain = (text: string): string =>
  text
    .slice(0, 200)
    .replace(/[^\P{C}]/gu, ' ')
    .trim()

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
