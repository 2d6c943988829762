import type { Instant, Millis, Mono } from '@understudy/shared/core/time'
import { between, millis } from '@understudy/shared/core/time'
import type { InterruptionAction, InterruptionNotice } from './imds-documents.ts'

/**
 * Tells one notice from the next. Pure.
 *
 * The service repeats a notice at every read, moves its `time` about, and, when EC2 did not end the instance after
 * all, leaves it there with a time in the past. So: as long as a notice is seen without a break it is one notice; a
 * notice whose time is not after the latest one that was ever acted on never counts again.
 */
export interface NoticeMemory {
  readonly open: OpenNotice | undefined
  /** Latest time of any notice that was acted on; survives restarts. */
  readonly handledUpTo: Instant | undefined
}

export interface OpenNotice {
  readonly id: string
  readonly action: InterruptionAction | null
  readonly time: Instant
  readonly firstSeen: Mono
}

export type NoticeChange =
  | { readonly kind: 'new'; readonly notice: OpenNotice }
  /** The same notice says another time. */
  | { readonly kind: 'moved'; readonly notice: OpenNotice }
  | { readonly kind: 'withdrawn'; readonly notice: OpenNotice }
  | { readonly kind: 'same' }

export const emptyMemory: NoticeMemory = { open: undefined, handledUpTo: undefined }

/** How far `time` of a notice that was handled may lie from the next one's for both to be the same notice. */
const SAME_WITHIN: Millis = millis(120_000)

export function seeInterruption(
  memory: NoticeMemory,
  notice: InterruptionNotice | undefined,
  now: { readonly wall: Instant; readonly mono: Mono },
): { readonly memory: NoticeMemory; readonly change: NoticeChange } {
  const { open, handledUpTo } = memory
  if (!notice) {
    if (!open) return { memory, change: { kind: 'same' } }
    return { memory: { ...memory, open: undefined }, change: { kind: 'withdrawn', notice: open } }
  }
  if (open) {
    if (open.time === notice.time && open.action === notice.action)
      return { memory, change: { kind: 'same' } }
    const moved: OpenNotice = { ...open, time: notice.time, action: notice.action }
    return {
      memory: { open: moved, handledUpTo: later(handledUpTo, notice.time) },
      change: { kind: 'moved', notice: moved },
    }
  }
  if (isOver(notice.time, handledUpTo, now.wall)) return { memory, change: { kind: 'same' } }
  const fresh: OpenNotice = {
    id: `interruption-${notice.time}`,
    action: notice.action,
    time: notice.time,
    firstSeen: now.mono,
  }
  return {
    memory: { open: fresh, handledUpTo: later(handledUpTo, notice.time) },
    change: { kind: 'new', notice: fresh },
  }
}

/** A past time that was handled, give or take how far one notice's time may move. */
function isOver(time: Instant, handledUpTo: Instant | undefined, wall: Instant): boolean {
  if (handledUpTo === undefined) return false
  if (time <= handledUpTo) return true
  return time < wall && between(handledUpTo, time) < SAME_WITHIN
}

const later = (a: Instant | undefined, b: Instant): Instant => (a === undefined || b > a ? b : a)

/** A rebalance recommendation stays for ever; only a later one is news. */
export function seeRebalance(
  lastNoticeTime: Instant | undefined,
  seen: { readonly noticeTime: Instant } | undefined,
): Instant | undefined {
  if (!seen) return undefined
  return lastNoticeTime === undefined || seen.noticeTime > lastNoticeTime ? seen.noticeTime : undefined
}
