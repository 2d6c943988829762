import { AppError, isAppError } from '@understudy/shared/core/app-error'
import {
  between,
  type Clock,
  type Millis,
  type Mono,
  millis,
  plus,
  seconds,
} from '@understudy/shared/core/time'

/** How long is waited for a replica when nothing is said. */
export const COMMIT_BUDGET = seconds(10)
export const MAX_COMMIT_BUDGET = seconds(600)

/** Each needs a look at everything; what comes meanwhile shares the next one. */
const MAX_RUNS = 4
const MAX_WAITING = 1000

/**
 * Resolves once everything that was written before the call is durable on the successor and on whoever is about to be
 * that, or on any replica while nobody is; with those that have it.
 * @throws AppError `conflict` when this instance is not primary, `unavailable` when no replica is attached,
 *   `outcome_unknown` when none has it within the budget, `state_unreadable` when some of it cannot be read, `busy` when
 *   too many are waiting
 */
export type Commit = (budget: Millis) => Promise<CommitResult>

export interface CommitResult {
  /** Instance ids. */
  readonly durableOn: readonly string[]
  readonly took: Millis
}

/** What of the replication is asked (agent/src/replication). */
export interface CommitPort {
  /** @throws AppError `not_ready` when no replica has it in time, `state_unreadable` */
  commit(budget: Millis): Promise<readonly string[]>
  lags(): readonly { readonly lag: { readonly attached: boolean } }[]
}

export interface CommitParts {
  readonly replication: CommitPort
  readonly isPrimary: () => boolean
  readonly clock: Clock
}

interface Waiting {
  readonly until: Mono
  readonly resolve: (durableOn: readonly string[]) => void
  readonly reject: (error: unknown) => void
}

/** Answers those who ask at the same time together. */
export function createCommit({ replication, isPrimary, clock }: CommitParts): Commit {
  let waiting: Waiting[] = []
  let runs = 0

  function begin(): void {
    if (runs >= MAX_RUNS || waiting.length === 0) return
    const batch = waiting
    waiting = []
    runs += 1
    void runFor(batch).finally(() => {
      runs -= 1
      begin()
    })
  }

  async function runFor(batch: readonly Waiting[]): Promise<void> {
    const last = batch.reduce((latest, { until }) => Math.max(latest, until), 0) as Mono
    const budget = millis(Math.max(1, between(clock.mono(), last)))
    try {
      const durableOn = await replication.commit(budget)
      for (const { resolve } of batch) resolve(durableOn)
    } catch (error) {
      const late = isAppError(error, 'not_ready') ? outOfTime(budget, error) : error
      for (const { reject } of batch) reject(late)
    }
  }

  return async (budget) => {
    if (!isPrimary())
      throw new AppError('conflict', 'this instance is not primary: its state comes from elsewhere', {
        hint: 'Only the workload of the primary may ask. `understudy-agent status` shows the role.',
      })
    if (!replication.lags().some(({ lag }) => lag.attached))
      throw new AppError('unavailable', 'no replica is attached that could keep this', {
        hint: '`understudy-agent status` shows the replicas and how far they are.',
        retryable: true,
      })
    if (waiting.length >= MAX_WAITING)
      throw new AppError('busy', `${MAX_WAITING} others are waiting already`, {
        hint: 'One call covers everything that was written before it: ask once for many writes.',
        retryable: true,
      })
    const since = clock.mono()
    const answer = new Promise<readonly string[]>((resolve, reject) => {
      const cancel = clock.timer(budget, () => reject(outOfTime(budget)))
      waiting.push({
        until: plus(since, budget),
        resolve: (durableOn) => {
          cancel()
          resolve(durableOn)
        },
        reject: (error) => {
          cancel()
          reject(error)
        },
      })
    })
    begin()
    const durableOn = await answer
    return { durableOn, took: between(since, clock.mono()) }
  }
}

const outOfTime = (budget: Millis, cause?: unknown): AppError =>
  new AppError('outcome_unknown', `no replica has it on disk within ${Math.round(budget)} ms`, {
    hint: 'It may still arrive. Ask again, or for more time; `understudy-agent status` shows how far each replica is.',
    retryable: true,
    cause,
  })
