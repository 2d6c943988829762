import { AppError } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, millis, seconds } from '@understudy/shared/core/time'
import { type Problem, toProblem } from '@understudy/shared/protocol/problem'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { Ask } from '../http/http.ts'
import type { LiveSocket } from '../live/live.ts'
import { type ReadingEvent, readingKinds } from './reading-kinds.ts'
import { createReadingMetrics } from './reading-metrics.ts'
import { type Caller, ReadingSession } from './session.ts'
import { type Outcome, Watched } from './watched.ts'

export { readingKinds }

/** Also how soon a page hears of what has changed. */
const LOOK = millis(200)
/** However many pages there are, the coordinator has other things to do. */
const AT_ONCE = 4
/** What takes longer keeps others from their turn. */
const LONGEST = seconds(30)

/**
 * What pages show of the API, kept up to date for as long as somebody looks: each question is asked once for all pages that
 * ask it, never twice at a time, when something has happened that may have changed its answer, and else from time to time.
 */
export interface Readings extends Service {
  touch(event: ReadingEvent): void
  join(socket: LiveSocket, caller: Caller): Pick<ReadingSession, 'receive' | 'closed'>
}

export function createReadings(parts: {
  readonly ask: Ask
  readonly clock: Clock
  readonly log: Logger
  readonly registry: Registry
}): Readings {
  const { ask, clock, log, registry } = parts
  const watched = new Map<string, Watched>()
  const sessions = new Set<ReadingSession>()
  let reading = 0
  const metrics = createReadingMetrics(registry, () => ({ pages: sessions.size, watched: watched.size }))

  async function asked(path: string): Promise<Outcome> {
    try {
      const { status, text } = await ask(path)
      return status === 200 ? { text, path } : { path, problem: JSON.parse(text) as Problem }
    } catch (error) {
      log.error({ event: 'readings.bug', path, err: error })
      return { path, problem: toProblem(new AppError('internal', 'it could not be read; the log has why')) }
    }
  }

  async function inTime(path: string): Promise<Outcome> {
    const late = Promise.withResolvers<Outcome>()
    const cancel = clock.timer(LONGEST, () => {
      const error = new AppError('unavailable', `it has not been read within ${LONGEST / 1000} s`)
      late.resolve({ path, problem: toProblem(error) })
    })
    return Promise.race([asked(path), late.promise]).finally(cancel)
  }

  async function read(one: Watched): Promise<void> {
    reading += 1
    const outcome = await inTime(one.begin())
    reading -= 1
    metrics.read(one.end(outcome))
    for (const session of sessions) session.pump()
    look()
  }

  /** Begins what is to be read, the longest due first, as far as that may be at once. */
  function look(): void {
    const now = clock.mono()
    const due = []
    for (const [key, one] of watched) {
      const at = one.dueAt()
      if (at === undefined) continue
      if (one.viewers === 0) watched.delete(key)
      else if (at <= now) due.push({ one, at })
    }
    due.sort((a, b) => a.at - b.at)
    for (const { one } of due.slice(0, Math.max(0, AT_ONCE - reading))) void read(one)
  }

  return {
    name: 'readings',
    touch(event) {
      for (const one of watched.values()) if (one.question.kind.on.includes(event)) one.touch()
    },
    join(socket, caller) {
      const session = new ReadingSession({
        socket,
        clock,
        caller,
        watchedOf(question) {
          const one = watched.get(question.key) ?? new Watched(question, clock)
          watched.set(question.key, one)
          return one
        },
        onCut(cut, why) {
          sessions.delete(cut)
          metrics.closed(why)
        },
      })
      sessions.add(session)
      return {
        receive(text) {
          session.receive(text)
          look()
        },
        closed() {
          sessions.delete(session)
          session.closed()
        },
      }
    },
    run: (signal) =>
      everyPeriod(clock, LOOK, signal, () => {
        for (const session of sessions) session.pump()
        look()
      }),
  }
}
