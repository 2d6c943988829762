import { type Millis, type Mono, seconds } from '@understudy/shared/core/time'

/** While a notice runs and nobody else has the state, each snapshot is followed by another so soon. */
const NOTICE_INTERVAL = seconds(10)
/** After a failure, doubled each time up to the interval itself. */
const RETRY_FIRST = seconds(5)

/** What decides whether a snapshot is made now. */
export interface Moment {
  readonly primary: boolean
  /** Replicas that follow closely: with one of them the state is safe. */
  readonly attached: number
  readonly noticed: boolean
  /** When the last one that succeeded was begun, and the last one at all; undefined when there was none. */
  readonly takenAt: Mono | undefined
  readonly triedAt: Mono | undefined
  /** Failures since the last success. */
  readonly failures: number
  /** A replica was attached, or the notice was not there, at the last look: things have become worse since. */
  readonly worse: boolean
}

export interface Habits {
  readonly interval: Millis
  readonly always: boolean
}

export type Decision = { readonly kind: 'now' | 'later' | 'not'; readonly why: string }

/** Pure. `later` means that one is due when the interval has passed, `not` that none is. */
export function whenToTake(moment: Moment, { interval, always }: Habits, now: Mono): Decision {
  if (!moment.primary) return { kind: 'not', why: 'this instance is not primary' }
  if (moment.attached > 0 && !always) return { kind: 'not', why: 'a replica has the state' }
  const { takenAt, triedAt, failures, noticed, worse } = moment
  if (worse) return { kind: 'now', why: noticed ? 'there is a notice' : 'the last replica has gone' }
  if (failures > 0 && triedAt !== undefined) {
    const wait = Math.min(RETRY_FIRST * 2 ** Math.min(failures - 1, 20), interval)
    return now - triedAt >= wait
      ? { kind: 'now', why: 'the last one failed' }
      : { kind: 'later', why: 'the last one failed' }
  }
  if (takenAt === undefined) return { kind: 'now', why: 'there is none yet' }
  const wait = noticed ? Math.min(NOTICE_INTERVAL, interval) : interval
  return now - takenAt >= wait ? { kind: 'now', why: 'it is due' } : { kind: 'later', why: 'it is not due' }
}
