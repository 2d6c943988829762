import { AppError, isAppError } from '@understudy/shared/core/app-error'
import type { Logger } from 'pino'
import { describeRestored, type Restored, type RestoreOrder } from './restore.ts'
import type { RestoreMark } from './restore-mark.ts'

/**
 * What takes the place of a state that was lost. An instance that is told to begin anew puts the newest snapshot in
 * place; until that has ended well, nothing is started on what is there.
 */
export interface Recovery {
  /** A restore was begun here and has not ended. */
  readonly unfinished: boolean
  /**
   * Restores once `fill`, which makes room unless a restore goes on with what is there, calls back; or goes on with a restore
   * that was begun. Undefined when there is no snapshot: the state is empty.
   * @throws AppError what restoring throws
   */
  begin(fill: Fill): Promise<Restored | undefined>
  /** Ends what is under way, and waits until nothing is written any more. */
  stop(): Promise<void>
  /** The state comes from somewhere else: what was restored in part does not matter any more. */
  abandon(): Promise<void>
}

export type Fill = (goesOn: boolean, refill: () => Promise<void>) => Promise<void>

export interface RecoverySurroundings {
  readonly mark: RestoreMark
  /** Undefined when none is configured, or it is not to be used for this. */
  readonly restore: ((order: RestoreOrder) => Promise<Restored>) | undefined
  readonly log: Logger
}

export function createRecovery({ mark, restore, log }: RecoverySurroundings): Recovery {
  let running: { stop: AbortController; ended: Promise<unknown> } | undefined

  async function stop(): Promise<void> {
    running?.stop.abort(new AppError('conflict', 'the role of this instance has changed meanwhile'))
    await running?.ended
  }

  /** One at a time; `run` sees the end of the one before. */
  async function exclusively<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    await stop()
    const mine = new AbortController()
    const result = run(mine.signal)
    const entry = { stop: mine, ended: result.catch(() => undefined) }
    running = entry
    return result.finally(() => {
      if (running === entry) running = undefined
    })
  }

  async function bringBack(signal: AbortSignal): Promise<Restored | undefined> {
    if (!restore)
      throw new AppError('state_unreadable', 'the state directories hold a part of a snapshot', {
        hint: 'Put it in place in full: understudy-agent restore --force, with the agent stopped.',
      })
    try {
      const restored = await restore({ force: true, signal })
      log.warn({ event: 'snapshot.restored', what: describeRestored(restored), id: restored.snapshot.id })
      return restored
    } catch (error) {
      // Nothing was ever there: an empty state is all there is.
      if (!isAppError(error, 'not_found') || mark.progress?.snapshot || !isNone(error)) throw error
      await mark.clear()
      log.warn({ event: 'snapshot.none', why: error.message })
      return undefined
    }
  }

  return {
    get unfinished() {
      return mark.progress !== undefined
    },
    begin: (fill) =>
      exclusively(async (signal) => {
        const goesOn = typeof mark.progress?.snapshot === 'string'
        if (!restore && !goesOn) {
          await fill(false, async () => undefined)
          if (mark.progress) await mark.clear()
          return undefined
        }
        if (!goesOn) await mark.set({ snapshot: null, packs: 0 })
        let restored: Restored | undefined
        await fill(goesOn, async () => {
          restored = await bringBack(signal)
        })
        return restored
      }),
    stop,
    async abandon() {
      await stop()
      if (mark.progress) await mark.clear()
    },
  }
}

/** There are no snapshots, which is something else than no store. */
const isNone = (error: AppError): boolean => error.facts.snapshots === 0
