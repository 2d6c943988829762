import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import {
  between,
  hours,
  type Instant,
  type Millis,
  millis,
  minutes,
  plus,
  seconds,
} from '@understudy/shared/core/time'

/** What an attempt came to. */
export interface Attempt {
  readonly ok: boolean
  /** Of the answer; null where none came. */
  readonly status: number | null
  readonly error: string | null
  /** What the receiver asks for. */
  readonly retryAfter: Millis | null
  /** How the message is called there, where later ones refer to it. */
  readonly ref: string | null
}

/** Half of each wait is certain, so that a receiver in trouble is left alone; the other half spreads many messages. */
const HALF: BackoffPolicy = { base: seconds(1), cap: minutes(7.5) }
/** A receiver may ask for so much more. */
const LONGEST_ASKED = hours(1)
/** What nobody could be told for so long is news no more. */
export const GIVEN_UP_AFTER = hours(24)

/**
 * When a message is tried again; undefined when it is not. `attempts` counts those that were made, `created` is when it was
 * written down. 410 is a receiver's way to say that it wants no more.
 */
export function nextAttempt(
  attempt: Attempt,
  { attempts, created, now }: { attempts: number; created: Instant; now: Instant },
  random: Random,
): Instant | undefined {
  if (attempt.ok || attempt.status === 410) return undefined
  const asked = Math.min(attempt.retryAfter ?? 0, LONGEST_ASKED)
  const certain = Math.min(HALF.cap, HALF.base * 2 ** Math.min(attempts - 1, 30))
  const wait = millis(Math.max(asked, Math.round(certain + fullJitter(HALF, attempts - 1, random))))
  const at = plus(now, wait)
  return between(created, at) > GIVEN_UP_AFTER ? undefined : at
}

/** `Retry-After` in either of its forms; null for anything else. */
export function parseRetryAfter(header: string | undefined, now: Instant): Millis | null {
  if (header === undefined) return null
  const text = header.trim()
  if (/^\d{1,9}$/.test(text)) return seconds(Number(text))
  const at = /^[A-Z][a-z]{2}, /.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? null : millis(Math.max(0, at - now))
}
