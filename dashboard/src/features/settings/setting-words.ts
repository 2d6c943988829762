import type {
  NotificationDelivery,
  NotificationKind,
  NotificationReceiver,
  NotificationStage,
  NotificationTest,
} from '@understudy/shared/protocol/notifications'
import type { SettingView } from '@understudy/shared/protocol/settings'
import { formatNumberOf, formatTook } from '../../ui/format.ts'
import type { Mark } from '../../ui/tone.ts'

/** What is in force; a secret is only said to be there. */
export function shownValue({ value, secret, is_set: isSet }: SettingView): string {
  if (!isSet) return 'not set'
  if (secret) return 'set, not shown'
  return value === '' || value === null ? 'empty' : value
}

export function originOf({ origin, env }: SettingView): string {
  switch (origin) {
    case 'default':
      return 'default'
    case 'file':
      return 'file'
    case 'environment':
      return env === null ? 'environment' : `environment, ${env}`
    case 'flag':
      return 'flag'
  }
}

/** How it goes with somebody who is told. */
export function receiverMark(receiver: NotificationReceiver): Mark {
  const { last_sent_at: sent, last_failed_at: failed, waiting } = receiver
  const isFailing = failed !== null && (sent === null || Date.parse(failed) >= Date.parse(sent))
  if (isFailing) return { tone: 'failed', shape: 'cross', word: 'Failing' }
  if (waiting > 0) return { tone: 'draining', shape: 'hourglass', word: 'Sending' }
  if (sent === null) return { tone: 'unknown', shape: 'dash', word: 'Nothing sent yet' }
  return { tone: 'healthy', shape: 'circle', word: 'Delivered' }
}

const deliveryMarks: Readonly<Record<NotificationDelivery['status'], Mark>> = {
  waiting: { tone: 'draining', shape: 'hourglass', word: 'Waiting' },
  sent: { tone: 'healthy', shape: 'circle', word: 'Sent' },
  'given-up': { tone: 'failed', shape: 'cross', word: 'Given up' },
}
export const deliveryMark = ({ status }: NotificationDelivery): Mark => deliveryMarks[status]

/** What came of the last attempt; nothing where it was well and the first. */
export function attemptWords({
  attempts,
  last_error: error,
  last_status: status,
}: Pick<NotificationDelivery, 'attempts' | 'last_error' | 'last_status'>): string {
  const tried = attempts === 0 ? 'not tried yet' : formatNumberOf(attempts, 'attempt')
  const why = error ?? (status !== null && (status < 200 || status > 299) ? `status ${status}` : undefined)
  return why === undefined ? tried : `${tried}, the last: ${why}`
}

export function testSentence({ receiver, ok, status, took_ms: took, error }: NotificationTest): string {
  const answer = status === null ? '' : ` with status ${status}`
  return ok
    ? `${receiver} has taken the test message${answer} after ${formatTook(took)}.`
    : `${receiver} has not taken the test message${answer}: ${error ?? 'no reason was given'}.`
}

/** Each of them, so that `all` can be said; the protocol's own list would bring its schemas along. */
export const stages: Readonly<Record<NotificationStage, true>> = {
  receipt: true,
  trouble: true,
  outcome: true,
  failure: true,
  alert: true,
}
export const kinds: Readonly<Record<NotificationKind, true>> = {
  notice: true,
  silence: true,
  planned: true,
  rebalance: true,
  drill: true,
  alert: true,
}

/** All of them, or which. */
export const allOr = (some: readonly string[], all: Readonly<Record<string, true>>): string =>
  Object.keys(all).every((one) => some.includes(one)) ? 'all' : some.join(', ')
