import { type Clock, hours, type Instant, instant, type Mono } from '@understudy/shared/core/time'

/** More than this beyond what is expected is a jump; a clock is never set right by so much in passing. */
const JUMP = hours(1)
/** A clock that stays where it has jumped to for so long is believed. */
const BELIEVED = hours(24)

interface Mark {
  readonly wall: number
  readonly mono: Mono
}

/**
 * What time it is at least, for what cannot be undone: a wall clock that jumps ahead (a wrong setting, a restored machine) makes
 * everything look old. Such a jump counts only after a day.
 * @param newest of what is stored, from before this process; undefined where nothing is: then the clock is believed
 */
export function createSteadyTime(clock: Clock, newest: number | undefined): () => Instant {
  const mark = (wall: number): Mark => ({ wall, mono: clock.mono() })
  const expected = (from: Mark): number => from.wall + (clock.mono() - from.mono)
  let reference = mark(newest ?? clock.now())
  let jumped: Mark | undefined

  return () => {
    const now = clock.now()
    if (now - expected(reference) > JUMP) {
      if (!jumped || Math.abs(now - expected(jumped)) > JUMP) jumped = mark(now)
      if (clock.mono() - jumped.mono < BELIEVED) return instant(expected(reference))
    }
    reference = mark(now)
    jumped = undefined
    return now
  }
}
