import { describe, expect, test } from 'vitest'
import { optionsOf } from '../testkit/simulation/aims.ts'
import { coverageTable } from '../testkit/simulation/batch.ts'
import type { Fault, FaultKind } from '../testkit/simulation/options.ts'
import { explain } from '../testkit/simulation/shrink.ts'
import { runSchedules } from '../testkit/simulation/threads.ts'
import { WANTED } from '../testkit/simulation/wanted.ts'
import { runWorld } from '../testkit/simulation/world.ts'

const RUNS = 20_000

test(`${RUNS} random schedules: no invariant is violated, and everything that can happen does`, async () => {
  const start = performance.now()
  const sum = await runSchedules({ seed: 1, runs: RUNS, sabotage: undefined, workers: 2 })
  const [first] = sum.failures
  if (first) throw new Error(`${sum.violations} schedules fail. ${explain(optionsOf(first.seed, undefined))}`)
  const { runs, elections, handoffs, successions, coverage } = sum
  console.log(coverageTable(sum))
  console.log(
    `${runs} schedules in ${((performance.now() - start) / 1000).toFixed(1)} s; per schedule ${elections / runs} ` +
      `elections, ${handoffs / runs} of them hand-overs, ${successions / runs} changes of successor`,
  )
  expect(runs).toBe(RUNS)
  expect(elections / runs).toBeGreaterThanOrEqual(3)
  expect(handoffs / runs).toBeGreaterThanOrEqual(1)
  expect(WANTED.filter((what) => coverage[what] === undefined)).toEqual([])
}, 180_000)

describe('I11: one of the two others is enough for a primary', () => {
  const SEEDS = 150

  /** Faults of one other voter only, once the primary has a successor that is ready. */
  function directed(seed: number, target: 'primary' | 'successor', kinds: readonly FaultKind[]) {
    const faults = kinds.map(
      (kind, index): Fault => ({
        kind,
        target,
        at: 4000 + index * 5500 + ((seed * 137) % 500),
        who: 0,
        size: ((seed * 31 + index * 17) % 97) / 100,
      }),
    )
    return runWorld({
      seed,
      faults,
      calmNetwork: true,
      duration: 4000 + kinds.length * 5500,
      keepTrace: true,
    })
  }

  test.each<readonly [FaultKind, FaultKind]>([
    ['coordinator-restart', 'coordinator-pause'],
    ['coordinator-pause', 'cut-coordinator-link'],
    ['cut-coordinator-link', 'coordinator-restart'],
  ])('%s and %s never stop a primary whose successor is well', (...kinds) => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { violations, suspensions, coverage, trace } = directed(seed, 'primary', kinds)
      expect(violations).toEqual([])
      expect(suspensions, trace.join('\n')).toBe(0)
      expect(coverage.get('guard kills') ?? 0).toBe(0)
      expect(coverage.get('change turnover') ?? coverage.get('change forced')).toBeUndefined()
      expect(coverage.get(`fault ${kinds[0]}`)).toBe(1)
    }
  })

  test.each<readonly [FaultKind, FaultKind]>([
    ['pause-machine', 'kill-agent'],
    ['reboot', 'cut-pair'],
    ['pause-agent', 'end-instance'],
    ['stop-clock', 'cut-instance'],
  ])('%s and %s of the successor never stop a primary that the coordinator hears', (...kinds) => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { violations, suspensions, coverage, trace } = directed(seed, 'successor', kinds)
      expect(violations).toEqual([])
      expect(suspensions, trace.join('\n')).toBe(0)
      expect(coverage.get('guard kills') ?? 0).toBe(0)
      expect(coverage.get('change turnover') ?? coverage.get('change forced')).toBeUndefined()
      expect(coverage.get(`fault ${kinds[0]}`)).toBe(1)
    }
  })
})

describe('a primary that nobody hears any more is replaced, as long as the two others hear each other', () => {
  const SEEDS = 100
  /** The lease and the election, in virtual milliseconds; hooks that fail come after it. */
  const WITHIN = 1000 + 700

  const momentOf = (line: string) => Number.parseInt(line, 10)

  /** Its line to the successor is cut, and the one to the coordinator so much later; neither comes back in time. */
  test.each([0, 300, 900, 1500])('its lines are cut %i ms apart', (apart) => {
    let played = 0
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const at = 4000 + ((seed * 137) % 500)
      const cut = (kind: FaultKind, target: 'primary' | 'successor', when: number): Fault => ({
        kind,
        target,
        at: when,
        who: 0,
        size: 2.005,
      })
      const faults = [cut('cut-pair', 'successor', at), cut('cut-coordinator-link', 'primary', at + apart)]
      const { violations, trace } = runWorld({ seed, faults, calmNetwork: true, keepTrace: true })
      expect(violations).toEqual([])
      // Hooks that failed at first: there is nobody yet who could take over.
      if (!trace.some((line) => momentOf(line) < at && /voting -> steady/.test(line))) continue
      // A successor that the primary has lost for a while gives way to one that hears it.
      if (trace.some((line) => momentOf(line) > at && momentOf(line) <= at + apart && /asking ->/.test(line)))
        continue
      const elected =
        trace.find((line) => momentOf(line) > at + apart && /elected: replica /.test(line)) ?? 'never'
      expect(momentOf(elected) - at - apart, trace.join('\n')).toBeLessThan(WITHIN)
      played += 1
    }
    expect(played).toBeGreaterThan(SEEDS / 2)
  })
})

describe('when primary and successor have both ended, a third copy takes over by a forced epoch', () => {
  const SEEDS = 150

  test.each([1, 40, 400])('the primary %i ms after its successor', (apart) => {
    let forced = 0
    let promoted = 0
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const at = 9000 + ((seed * 137) % 500)
      const end = (target: 'primary' | 'successor', when: number): Fault => ({
        ...{ kind: 'end-instance', target, at: when, who: 0, size: 0 },
      })
      const faults = [end('successor', at), end('primary', at + apart)]
      const policies = { onRebalance: 'replica', minReplicas: 2 } as const
      const { violations, coverage, closed, trace } = runWorld({
        ...{ seed, faults, policies, calmNetwork: true, keepTrace: true },
      })
      expect(violations).toEqual([])
      forced += coverage.get('forced on evidence') ?? 0
      expect(coverage.get('forced with consent')).toBeUndefined()
      // A start hook may fail at first; nobody begins with nothing.
      expect(closed.relaunched, trace.join('\n')).toBeUndefined()
      promoted += closed.promoted ?? 0
    }
    // Where there is time for it, the third has become the successor before.
    if (apart < 100) expect(forced).toBeGreaterThanOrEqual(SEEDS)
    expect(promoted).toBeGreaterThan(0.8 * SEEDS)
  })
})
