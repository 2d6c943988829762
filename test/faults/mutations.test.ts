import { optionsOf } from '@understudy/shared/testkit/simulation/aims'
import { SABOTAGES, type Sabotage } from '@understudy/shared/testkit/simulation/options'
import { runWorld } from '@understudy/shared/testkit/simulation/world'
import { expect, test } from 'vitest'

/** A check that cannot fail proves nothing: each guard of the protocol is taken away, and its loss must be noticed. */

const MOST_SCHEDULES = 3000

/** Safety only: that nobody is primary in the end would not tell that a guard is missing. */
const SAFETY = / (I(1|2|3|5|7|8|9)|G3|M5): /

function firstCaught(sabotage: Sabotage): string | undefined {
  for (let seed = 1; seed <= MOST_SCHEDULES; seed += 1) {
    const caught = runWorld(optionsOf(seed, sabotage)).violations.find((text) => SAFETY.test(text))
    if (caught !== undefined) return caught
  }
  return undefined
}

/** The schedules are aimed where the guard is needed; with the guard they are harmless. */
function firstWithout(sabotage: Sabotage): string | undefined {
  for (let seed = 1; seed <= 100; seed += 1) {
    const { sabotage: _, ...sound } = optionsOf(seed, sabotage)
    const [violation] = runWorld(sound).violations
    if (violation !== undefined) return violation
  }
  return undefined
}

test.each(SABOTAGES)(
  '%s is caught',
  (sabotage) => {
    expect(firstCaught(sabotage)).toMatch(SAFETY)
    expect(firstWithout(sabotage)).toBeUndefined()
  },
  60_000,
)
