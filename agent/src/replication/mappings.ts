import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Clock, Instant, Mono } from '@understudy/shared/core/time'
import { type Stat, TICK_NS } from './state-files.ts'

/** A line of /proc/<pid>/maps of a mapping that is shared and can be written to; its inode number. See proc(5). */
const SHARED_WRITABLE = /^\S+ .w.s \S+ \S+ (\d+)/gm

/**
 * Files that some process may change without a trace. A store into a page of a file that is mapped and shared changes
 * the times of the file only where the kernel has to be asked for the page: the first time through a mapping, and
 * again after the page was written to the disk. Every other store shows in nothing but the content.
 *
 * So what was read of a file holds until its times change only if nobody had it mapped when the reading began. One
 * list of what is mapped says so for every file that it does not name and that has not changed since: whoever maps it
 * later has to ask for its pages.
 *
 * Processes that cannot be seen, of another user where the agent is not root, are taken to map nothing.
 */
export interface Mappings {
  /** Reads the list again. Costs a read per process. */
  refresh(): Promise<void>
  /** Whether the file, as it was when somebody began to read it, may change afterwards without a trace. */
  mayHide(stat: Stat, startedReading: Mono): boolean
}

interface Listed {
  readonly since: Instant
  readonly until: Mono
  /** By number alone: what maps says of the device is not what stat says on every file system. */
  readonly inodes: ReadonlySet<bigint>
}

export function createMappings(clock: Clock): Mappings {
  let listed: Listed | undefined
  return {
    async refresh() {
      const since = clock.now()
      const inodes = await mappedInodes()
      listed = { since, until: clock.mono(), inodes }
    },
    mayHide: ({ changedNs, inode }, startedReading) =>
      listed === undefined ||
      listed.until > startedReading ||
      listed.inodes.has(inode) ||
      changedNs > BigInt(Math.round(listed.since)) * 1_000_000n - TICK_NS,
  }
}

async function mappedInodes(): Promise<Set<bigint>> {
  const inodes = new Set<bigint>()
  const known = new Set<string>()
  // What was forked meanwhile has the mappings of one that may have ended since.
  for (let pids = processes(known); pids.length > 0; pids = processes(known))
    for (const pid of pids) {
      known.add(pid)
      const maps = await readFile(`/proc/${pid}/maps`, 'latin1').catch(() => '')
      for (const [, inode = '0'] of maps.matchAll(SHARED_WRITABLE)) inodes.add(BigInt(inode))
    }
  return inodes
}

function processes(known: ReadonlySet<string>): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && !known.has(name))
  } catch {
    // Another system than Linux, in development.
    return []
  }
}
