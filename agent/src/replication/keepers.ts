import { AppError } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Millis, Mono } from '@understudy/shared/core/time'
import type { SenderSession } from './session-types.ts'

/** Whose disks have to have what was written before a moment, and by when. */
interface Wanted {
  readonly moment: Mono
  readonly budget: Millis
  readonly signal: AbortSignal
  readonly keepers: () => readonly InstanceId[]
  /** Throws when nobody can say any more what was written. */
  readonly check: () => void
}

/** Those of these replicas that have it, once the keepers are among them. @throws AppError `not_ready`, or what `check` throws */
export async function untilKept(
  sessions: readonly SenderSession[],
  { moment, budget, signal, keepers, check }: Wanted,
): Promise<readonly InstanceId[]> {
  const durable: InstanceId[] = []
  const waiting = new Set<Promise<void>>()
  for (const session of sessions) {
    const one: Promise<void> = session
      .safe(moment, signal)
      .then(() => void durable.push(session.instance))
      .catch(() => undefined)
      .finally(() => waiting.delete(one))
    waiting.add(one)
  }
  const missing = () => keepers().filter((keeper) => !durable.includes(keeper))
  // Where nobody is to take over one is enough: another may be stuck. Who has to have it may change meanwhile.
  while (waiting.size > 0 && (durable.length === 0 || missing().length > 0)) await Promise.race(waiting)
  check()
  if (durable.length > 0 && missing().length === 0) return [...durable]
  const who = durable.length > 0 ? missing().join(' and ') : 'no replica'
  const verb = durable.length > 0 ? 'does not have' : 'has'
  throw new AppError('not_ready', `${who} ${verb} it on disk within ${Math.round(budget)} ms`, {
    hint: 'It may still arrive. Ask for more time, or see `understudy-agent status` for the lag.',
    retryable: true,
  })
}
