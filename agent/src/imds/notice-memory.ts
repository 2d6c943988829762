import type { Instant, Millis, Mono } from '@understudy/shared/core/time'
import { between, millis } from '@understudy/shared/core/time'
import type { InterruptionAction, InterruptionNotice } from './imds-documents.ts'

/**
 * Tells one notice from the next. Pure.
 *
 * The service repeats a notice at every read, moves its `time` about, now and then answers as if there were none, and,
 * when EC2 did not end the instance after all, leaves it there with a time in the past. So: a notice is one notice until
 * it was missing several times in a row; a past time that is not after the latest one that was ever acted on never counts
 * again; one that is still to come always does.
 */
export interface NoticeMemory {
  readonly open: OpenNotice | undefined
  /** Latest time of any notice that was acted on; survives restarts. */
  readonly handledUpTo: Instant | undefined
  /** So many times in a row the open notice was missing. */
  readonly missing: number
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

export const emptyMemory: NoticeMemory = { open: undefined, handledUpTo: undefined, missing: 0 }

/** A notice that is missing so often is not there any more. */
const GONE_AFTER = 3

/** How far `time` of a notice that was handled may lie from the next one's for both to be the same notice. */
const SAME_WITHIN: Millis = millis(120_000)

interface Seen {
  readonly memory: NoticeMemory
  readonly change: NoticeChange
}

export function seeInterruption(
  memory: NoticeMemory,
  notice: InterruptionNotice | undefined,
  now: { readonly wall: Instant; readonly mono: Mono },
): Seen {
  const { open, handledUpTo } = memory
  if (!notice) return seeNone(memory)
  if (open) {
    if (open.time === notice.time && open.action === notice.action)
      return { memory: { ...memory, missing: 0 }, change: { kind: 'same' } }
    const moved: OpenNotice = { ...open, time: notice.time, action: notice.action }
    return {
      memory: { open: moved, handledUpTo: later(handledUpTo, notice.time), missing: 0 },
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
    memory: { open: fresh, handledUpTo: later(handledUpTo, notice.time), missing: 0 },
    change: { kind: 'new', notice: fresh },
  }
}

function seeNone({ open, handledUpTo, missing }: NoticeMemory): Seen {
  const isGone = !open || missing + 1 >= GONE_AFTER
  return {
    memory: isGone ? { ...emptyMemory, handledUpTo } : { open, handledUpTo, missing: missing + 1 },
    change: open && isGone ? { kind: 'withdrawn', notice: open } : { kind: 'same' },
  }
}

/** A past time that was handled, give or take how far one notice's time may move. */
function isOver(time: Instant, handledUpTo: Instant | undefined, wall: Instant): boolean {
  if (handledUpTo === undefined || time > wall) return false
  return between(handledUpTo, time) < SAME_WITHIN
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
