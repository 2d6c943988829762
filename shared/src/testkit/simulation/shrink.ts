import type { Fault, WorldOptions, WorldResult } from './options.ts'
import { runWorld } from './world.ts'

export interface Shrunk {
  readonly faults: readonly Fault[]
  /** Of the schedule with these faults only, with its trace. */
  readonly result: WorldResult
}

/**
 * Leaves faults of a failing schedule out, larger parts first, as long as an invariant of the same name is still
 * violated; undefined when nothing is violated to begin with. The result has no fault that could be left out by itself.
 */
export function shrink(options: WorldOptions): Shrunk | undefined {
  const whole = runWorld(options)
  const name = nameOf(whole)
  if (name === undefined) return undefined
  const stillFails = (faults: readonly Fault[]) => nameOf(runWorld({ ...options, faults })) === name
  let faults = whole.faults
  for (let size = Math.ceil(faults.length / 2); size >= 1; ) {
    const smaller = withoutPart(faults, size, stillFails)
    if (smaller) faults = smaller
    else size = size === 1 ? 0 : Math.ceil(size / 2)
  }
  return { faults, result: runWorld({ ...options, faults, keepTrace: true }) }
}

/** Without the first part of this size that is not needed. */
function withoutPart(
  faults: readonly Fault[],
  size: number,
  stillFails: (faults: readonly Fault[]) => boolean,
): readonly Fault[] | undefined {
  for (let from = 0; from < faults.length; from += size) {
    const rest = [...faults.slice(0, from), ...faults.slice(from + size)]
    if (stillFails(rest)) return rest
  }
  return undefined
}

/** `I2` of `seed 7 at 5120 ms: I2: two active: …`; what has no number is about an end without a primary. */
const nameOf = ({ violations: [first] }: WorldResult): string | undefined =>
  first === undefined ? undefined : (/: ([A-Z]+\d+): /.exec(first)?.[1] ?? 'liveness')

/** What somebody needs who has to find out why: the violation, the faults that it takes, and what happened last. */
export function explain(options: WorldOptions, lines = 60): string {
  const shrunk = shrink(options)
  if (!shrunk) return `seed ${options.seed}: nothing is violated`
  const { faults, result } = shrunk
  return [
    ...result.violations,
    `It takes ${faults.length} of ${runWorld(options).faults.length} faults:`,
    ...faults.map(({ at, kind, size, target }) =>
      `${at.toFixed(0).padStart(7)} ${kind} ${target ?? ''} (size ${size.toFixed(2)})`.replace('  ', ' '),
    ),
    'What happened last, by virtual milliseconds:',
    ...result.trace.slice(-lines),
  ].join('\n')
}
