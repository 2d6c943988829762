import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { percentile } from './bench.ts'
import { openPair, type Pair } from './replication-pair.ts'
import { firstDifference } from './replication-tree.ts'
import type { Rival } from './rsync.ts'

/** What the parts of the replication benchmark share. */
export interface ReplicationRig {
  readonly directory: string
  /** The bundled program of one end. */
  readonly program: string
  readonly profiles: string | undefined
  /** undefined where rsync or sshd is missing. */
  readonly rival: Rival | undefined
  readonly hasLsyncd: boolean
  readonly seed: number
  readonly runs: number
  say(line: string): void
  /** A copy that is not equal to its source. */
  wrong(what: string): void
}

/** A primary on the tree at `primary`/state, and a replica with what is at `replica`/state. */
export const openRigPair = (rig: ReplicationRig, primary: string, replica: string): Promise<Pair> =>
  openPair({ program: rig.program, primary, replica, profiles: rig.profiles })

export function expectEqual(rig: ReplicationRig, what: string, from: string, to: string): void {
  const difference = firstDifference(from, to)
  if (difference !== undefined) rig.wrong(`${what}: ${difference}`)
}

/** Removes what an earlier run has left, and lets nothing of it be written out during the next. */
export function clear(rig: ReplicationRig, name: string): string {
  const directory = join(rig.directory, name)
  rmSync(directory, { recursive: true, force: true })
  syncDisk(rig.directory)
  return directory
}

/** Writes out the whole file system of `directory`. @returns seconds */
export function syncDisk(directory: string): number {
  const start = performance.now()
  execFileSync('sync', ['-f', directory])
  return (performance.now() - start) / 1000
}

const median = (values: readonly number[]): number => percentile(values, 50)

/** The middle of each figure over several runs. */
export function medians<T extends Readonly<Record<string, number>>>(runs: readonly T[]): T | null {
  const [first] = runs
  if (!first) return null
  const entries = Object.keys(first).map((key) => [key, median(runs.map((run) => run[key] ?? Number.NaN))])
  return Object.fromEntries(entries) as T
}

/** In the order of `items`, beginning one further for each run: what runs first differs. */
export const rotated = <T>(items: readonly T[], by: number): readonly T[] =>
  items.map((_, index) => items[(index + by) % items.length] as T)
