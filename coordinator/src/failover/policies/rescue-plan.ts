import { formatMillis, type Millis, millis, seconds } from '@understudy/shared/core/time'

/** A standby of an agent whose primary AWS takes back, none of which can take over yet. */
export interface LateStandby {
  readonly id: string
  readonly instance: string | null
  readonly status: string
  /** Of its first copy; null before anything is known of it. */
  readonly bytesDone: number | null
  readonly bytesTotal: number | null
  /** Over the last seconds; null before there is anything to measure. */
  readonly bytesPerSecond: number | null
}

export interface Straits {
  /** Until the instance ends. */
  readonly left: Millis
  readonly standbys: readonly LateStandby[]
}

/**
 * What is counted on: a standby that will have the whole state in time; one that will not, and begins with the newest snapshot when
 * the primary is gone; or an instance that has yet to be made.
 */
export type Rescue =
  | { readonly kind: 'wait'; readonly id: string; readonly eta: Millis; readonly why: string }
  | { readonly kind: 'snapshot'; readonly id: string; readonly why: string }
  | { readonly kind: 'launch'; readonly why: string }

/** What the move itself takes, with some to spare. */
const RESERVE = seconds(10)

/**
 * Whether one of the standbys is ready before the primary ends, by the measured speed of its copy against what is left of it. One of
 * which nothing can be measured yet is not counted on, but is tried all the same: failover moves as soon as any of them is ready,
 * whatever is said here. Pure.
 *
 * Property (rescue-plan.test.ts): it waits only for a standby that at its present speed is there before the deadline, less ten
 * seconds for the move; and of several for the one that is there first.
 */
export function planRescue({ left, standbys }: Straits): Rescue {
  const timed = standbys
    .flatMap((standby) => {
      const eta = etaOf(standby)
      return eta === undefined ? [] : [{ standby, eta }]
    })
    .sort((a, b) => a.eta - b.eta)
  const [first] = timed
  if (first && first.eta <= left - RESERVE) {
    const { standby, eta } = first
    return {
      kind: 'wait',
      id: standby.id,
      eta,
      why: `${progressOf(standby)}: ready in ${inWords(eta, left)}`,
    }
  }
  const next = first?.standby ?? standbys.find(({ instance }) => instance !== null) ?? standbys[0]
  if (!next)
    return { kind: 'launch', why: `no standby is there, and ${formatMillis(left)} are left: one is made` }
  const late = first
    ? `${progressOf(next)}: it would take ${inWords(first.eta, left)}`
    : `${nameOf(next)} is ${next.status}, and how long it takes cannot be said yet; ${formatMillis(left)} are left`
  return {
    kind: 'snapshot',
    id: next.id,
    why: `${late}. It takes over if it is ready in time, and else begins with the newest snapshot`,
  }
}

/** How long its copy still takes; undefined where that cannot be said. */
function etaOf({ bytesDone, bytesTotal, bytesPerSecond }: LateStandby): Millis | undefined {
  if (bytesDone === null || bytesTotal === null || bytesTotal === 0) return undefined
  const missing = Math.max(0, bytesTotal - bytesDone)
  if (missing === 0) return millis(0)
  if (bytesPerSecond === null || bytesPerSecond <= 0) return undefined
  return millis((missing / bytesPerSecond) * 1000)
}

const nameOf = ({ instance, id }: LateStandby): string => instance ?? `the replica ${id}`

const progressOf = (standby: LateStandby): string => {
  const { bytesDone, bytesTotal, bytesPerSecond } = standby
  const speed = bytesPerSecond === null ? '' : ` at ${mib(bytesPerSecond)} a second`
  return `${nameOf(standby)} has ${mib(bytesDone ?? 0)} of ${mib(bytesTotal ?? 0)}${speed}`
}

const inWords = (eta: Millis, left: Millis): string =>
  `${formatMillis(eta)}, and ${formatMillis(left)} are left`

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
