import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { between, type Clock, type Millis, type Mono } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import { planFinalSync } from './final-sync.ts'
import type { SenderSession } from './session-types.ts'
import type { StateRoots } from './state-files.ts'

/** The last of the state, before a replica takes over. */
interface LastSync {
  readonly session: SenderSession
  readonly deadline: Mono
  readonly signal: AbortSignal
  /** What there is no time for may be left out. */
  readonly tolerant: boolean
  readonly roots: StateRoots
  readonly clock: Clock
  readonly log: Logger
}

/** Sends what the time allows. Returns how many bytes were left out, and why. */
export async function sendTheRest(parts: LastSync): Promise<{ leftBytes: number; why: string }> {
  const { session, deadline, signal, tolerant, roots, clock, log } = parts
  const left = between(clock.mono(), deadline)
  const dirtyBytes = session.lag.bytes
  const underWay = dirtyBytes - session.pendingBytes()
  const priorityBytes = session.pendingBytes((key) => roots.isPriority(key)) + underWay
  const { bytesPerSecond } = session
  const { plan, why } = planFinalSync({ left, bytesPerSecond, dirtyBytes, priorityBytes })
  log.info({ event: 'replication.final_sync', plan, why, target: session.instance })
  try {
    if (plan === 'everything' || !tolerant) {
      session.sendAll()
      await session.settled(signal)
      return { leftBytes: 0, why }
    }
    if (plan === 'priority') {
      session.sendAll((key) => roots.isPriority(key))
      await session.preferredSent(signal)
    }
    return { leftBytes: leftOf(session), why }
  } catch (error) {
    if (!tolerant || !signal.aborted || session.ended) throw error
    return { leftBytes: leftOf(session), why: `${why}; it took longer` }
  }
}

/** What the replica goes without. @throws AppError `not_ready` when it has no whole copy of any moment */
function leftOf(session: SenderSession): number {
  session.withhold()
  if (session.whole) return session.lag.bytes
  throw new AppError('not_ready', `${session.instance} has only a part of a copy, and no time for the rest`, {
    retryable: true,
  })
}

/** Ends with the time; what was begun goes on by itself. */
export function inTime<T>(task: Promise<T>, signal: AbortSignal): Promise<T> {
  const late = new Promise<never>((_, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
  )
  return Promise.race([task, late])
}

export function asBudgetError(error: unknown, signal: AbortSignal, what: string, budget: Millis): unknown {
  if (!signal.aborted || isAppError(error)) return error
  return new AppError('not_ready', `${what} within ${Math.round(budget)} ms`, { retryable: true })
}

/** @throws AppError `state_unreadable` */
export function assertReadable(unreadable: ReadonlyMap<string, string>): void {
  if (unreadable.size === 0) return
  const [name, why] = [...unreadable][0] ?? ['', '']
  throw new AppError(
    'state_unreadable',
    `${unreadable.size} names of the state cannot be read: ${name} (${why})`,
    {
      hint: 'Let the agent run as a user that can read everything below the state directories, or name under workload.exclude what need not be replicated.',
    },
  )
}
