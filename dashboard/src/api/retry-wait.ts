import type { Random } from '@understudy/shared/core/random'
import { type Millis, millis } from '@understudy/shared/core/time'

const SHORTEST = 500
const LONGEST = 15_000

/** Before a connection is tried again: 0.5 to 15 s with jitter, so that the pages of a whole team do not come back as one. */
export function retryWait(tries: number, random: Random): Millis {
  const longest = Math.min(LONGEST, SHORTEST * 2 ** Math.min(tries, 10))
  return millis(SHORTEST + random() * (longest - SHORTEST))
}
