import type { Millis } from '@understudy/shared/core/time'

/**
 * How much of the last of the state is sent before a deadline.
 * - `everything`: all of it.
 * - `priority`: the paths that `workload.priority` names, as a group of their own, and nothing else.
 * - `barrier`: nothing more; the replica takes over from the last whole state that it has.
 */
export type FinalSync = 'everything' | 'priority' | 'barrier'

/** What is known when the last of the state has to go over. Bytes are before compression. */
export interface FinalSyncFacts {
  readonly left: Millis
  /** What the replica took lately; undefined before anything was measured. */
  readonly bytesPerSecond: number | undefined
  readonly dirtyBytes: number
  /** Part of `dirtyBytes` in priority paths; 0 when none are named. */
  readonly priorityBytes: number
}

/** Part of the time that is kept for the replica to sync and to compare. */
const RESERVE = 0.2
/** Taken for the speed before there is a measurement, bytes per second. */
const ASSUMED_SPEED = 20e6

/** Pure. The sentence says what was weighed, for the log and the incident. */
export function planFinalSync(facts: FinalSyncFacts): { readonly plan: FinalSync; readonly why: string } {
  const { left, bytesPerSecond = ASSUMED_SPEED, dirtyBytes, priorityBytes } = facts
  const fits = ((left * (1 - RESERVE)) / 1000) * bytesPerSecond
  const weighed = `${mib(dirtyBytes)} to send, ${Math.round(left)} ms left, ${mib(bytesPerSecond)}/s`
  if (dirtyBytes <= fits) return { plan: 'everything', why: `everything fits: ${weighed}` }
  if (priorityBytes > 0 && priorityBytes <= fits)
    return { plan: 'priority', why: `only the priority paths (${mib(priorityBytes)}) fit: ${weighed}` }
  return { plan: 'barrier', why: `not even the most important part fits: ${weighed}` }
}

const mib = (bytes: number): string => `${(bytes / (1024 * 1024)).toFixed(1)} MiB`
