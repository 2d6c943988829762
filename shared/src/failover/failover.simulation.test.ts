import { expect, test } from 'vitest'
import { runWorld, type WorldOptions } from '../testkit/failover-world.ts'

type Sabotage = NonNullable<WorldOptions['sabotage']>

function firstSafetyViolation(seeds: number, sabotage: Sabotage): string | undefined {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const unsafe = runWorld({ seed, sabotage }).violations.find((text) =>
      /two active|without a lease/.test(text),
    )
    if (unsafe) return unsafe
  }
  return undefined
}

test('no schedule of faults makes two instances active, loses handed-over state, or ends without a primary', () => {
  const total = { commits: 0, handOvers: 0, promoted: 0, relaunched: 0, failed: 0 }
  for (let seed = 1; seed <= 1000; seed += 1) {
    const { violations, commits, handOvers, closed } = runWorld({ seed })
    expect(violations).toEqual([])
    total.commits += commits
    total.handOvers += handOvers
    total.promoted += closed.promoted ?? 0
    total.relaunched += closed.relaunched ?? 0
    total.failed += closed.failed ?? 0
  }
  // The schedules must have exercised something.
  expect(total.commits).toBeGreaterThan(3000)
  expect(total.handOvers).toBeGreaterThan(500)
  expect(total.promoted).toBeGreaterThan(1500)
  expect(total.relaunched).toBeGreaterThan(50)
  expect(total.failed).toBeGreaterThan(50)
}, 60_000)

test.each<Sabotage>(['ignore-promise', 'thaw-after-release', 'lease-from-receipt'])(
  'the checks can fail: %s is caught',
  (sabotage) => {
    expect(firstSafetyViolation(3000, sabotage)).toBeDefined()
  },
  60_000,
)
