import type { InstanceId } from '@understudy/shared/core/ids'
import { between, type Clock, instant, type Mono, millis, plus } from '@understudy/shared/core/time'
import { type Group, silenceOf } from '@understudy/shared/failover/group'

/** What an earlier coordinator has written down of a primary: for records only, never for leases or decisions. */
export interface HeardBefore {
  readonly instance: InstanceId
  readonly at: Mono
}

/** From a time of the wall clock; undefined when there is none, or it is yet to come because that clock was set. */
export function heardBefore(
  instance: InstanceId | undefined,
  written: number | null,
  clock: Clock,
): HeardBefore | undefined {
  if (instance === undefined || written === null) return undefined
  const ago = between(instant(written), clock.now())
  return ago < 0 ? undefined : { instance, at: plus(clock.mono(), millis(-ago)) }
}

/** The last sign of life of the primary. Who was never heard here was silent before this process began to listen. */
export function lastHeard(group: Group, now: Mono, before: HeardBefore | undefined): Mono {
  const here = plus(now, millis(-silenceOf(group, now)))
  const primary = before && group.members.get(before.instance)
  const isUnheard = primary?.instance === group.primary && primary?.sentAt === undefined
  return before && isUnheard && before.at < here ? before.at : here
}
