import type { WorldOptions } from './options.ts'
import { runWorld } from './world.ts'

/** The sum of many schedules, in a form that threads can hand to each other. */
export interface Batch {
  readonly runs: number
  /** Schedules in which something was violated. */
  readonly violations: number
  /** The first of them, some at most. */
  readonly failures: readonly Failure[]
  readonly elections: number
  readonly handoffs: number
  readonly successions: number
  readonly suspensions: number
  /** By `kind which`. */
  readonly coverage: Readonly<Record<string, number>>
}

export interface Failure {
  readonly seed: number
  readonly violation: string
}

export const NO_RUNS: Batch = {
  runs: 0,
  violations: 0,
  failures: [],
  elections: 0,
  handoffs: 0,
  successions: 0,
  suspensions: 0,
  coverage: {},
}
const MOST_FAILURES = 20

/** One schedule for each of `runs` seeds from `seed` on. */
export function runBatch(seed: number, runs: number, optionsOf: (seed: number) => WorldOptions): Batch {
  const coverage: Record<string, number> = {}
  const failures: Failure[] = []
  const sums = { elections: 0, handoffs: 0, successions: 0, suspensions: 0 }
  for (let index = 0; index < runs; index += 1) {
    const result = runWorld(optionsOf(seed + index))
    for (const [what, count] of result.coverage) coverage[what] = (coverage[what] ?? 0) + count
    const [violation] = result.violations
    if (violation !== undefined) failures.push({ seed: seed + index, violation })
    sums.elections += result.elections
    sums.handoffs += result.handoffs
    sums.successions += result.successions
    sums.suspensions += result.suspensions
  }
  return { runs, violations: failures.length, failures: failures.slice(0, MOST_FAILURES), coverage, ...sums }
}

export function sumOf(one: Batch, other: Batch): Batch {
  const coverage = { ...one.coverage }
  for (const [what, count] of Object.entries(other.coverage)) coverage[what] = (coverage[what] ?? 0) + count
  return {
    runs: one.runs + other.runs,
    violations: one.violations + other.violations,
    failures: [...one.failures, ...other.failures].sort((a, b) => a.seed - b.seed).slice(0, MOST_FAILURES),
    elections: one.elections + other.elections,
    handoffs: one.handoffs + other.handoffs,
    successions: one.successions + other.successions,
    suspensions: one.suspensions + other.suspensions,
    coverage,
  }
}

/** Two columns, by name. */
export const coverageTable = ({ coverage }: Batch): string =>
  Object.entries(coverage)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, count]) => `${String(count).padStart(10)}  ${what}`)
    .join('\n')
