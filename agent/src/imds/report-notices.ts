import {
  between,
  type Clock,
  type Instant,
  type Mono,
  millis,
  plus,
  seconds,
} from '@understudy/shared/core/time'
import type { Report } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { OpenNotice } from './notice-memory.ts'
import type { NoticeListener } from './notice-watcher.ts'

/** An instance that can read a time that is over still runs: it hibernates, or its clock is ahead. */
const OVERDUE = seconds(5)

/** What the metadata service says, as reports to the coordinator. */
export function reportNotices(parts: {
  readonly report: (report: Report) => void
  /** AWS takes the instance back at about `end`; again when the time was moved. */
  readonly onOpen: (notice: OpenNotice, end: Mono) => void
  readonly onWithdrawn: () => void
  readonly remember: NoticeListener['remember']
  readonly clock: Clock
  readonly log: Logger
}): NoticeListener {
  const { report, clock, log } = parts
  const endOf = (time: Instant): Mono =>
    plus(clock.mono(), millis(Math.max(between(clock.now(), time), OVERDUE)))
  return {
    onInterruption(notice, change) {
      log.warn({ event: `notice.${change}`, notice: notice.id, action: notice.action, time: notice.time })
      report({
        kind: 'notice',
        signal: 'termination-notice',
        noticeId: notice.id,
        action: notice.action,
        time: notice.time,
        ageMillis: between(notice.firstSeen, clock.mono()),
      })
      parts.onOpen(notice, endOf(notice.time))
    },
    onWithdrawn(notice) {
      log.warn({ event: 'notice.withdrawn', notice: notice.id })
      report({ kind: 'notice-withdrawn', noticeId: notice.id })
      parts.onWithdrawn()
    },
    onRebalance(noticeTime, firstSeen) {
      log.warn({ event: 'notice.rebalance', time: noticeTime })
      report({
        kind: 'notice',
        signal: 'rebalance-recommendation',
        noticeId: `rebalance-${noticeTime}`,
        action: null,
        time: noticeTime,
        ageMillis: between(firstSeen, clock.mono()),
      })
    },
    onMaintenance: (event) => report({ kind: 'maintenance', ...event }),
    onTargetLifecycle: (state) => report({ kind: 'target-lifecycle', state }),
    remember: parts.remember,
  }
}
