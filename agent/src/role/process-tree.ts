import { readdirSync, readFileSync } from 'node:fs'

/** Set in the environment of every hook, and so of everything that a hook starts. */
export const WORKLOAD_KEY = 'AGENT_WORKLOAD_KEY'

/** Rounds of looking again, for processes that were being started while the others were killed. */
const ROUNDS = 50

/**
 * Kills every process whose environment carries the key, and what those have started meanwhile. Linux only: it reads
 * /proc. Processes that a service manager starts for a hook do not carry it; for those `stop` must work.
 * Returns how many there were.
 */
export async function killMarked(key: string): Promise<number> {
  const killed = new Set<number>()
  for (let round = 0; round < ROUNDS; round += 1) {
    const pids = markedProcesses(key)
    if (pids.length === 0) return killed.size
    for (const pid of pids) {
      killed.add(pid)
      signalOne(pid)
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error(`processes ${markedProcesses(key).join(', ')} do not end`)
}

function markedProcesses(key: string): number[] {
  const mark = `${WORKLOAD_KEY}=${key}\0`
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => environmentOf(pid).includes(mark) && !isZombie(pid))
    .map(Number)
}

function environmentOf(pid: string): string {
  try {
    return `${readFileSync(`/proc/${pid}/environ`, 'latin1')}\0`
  } catch {
    // Ended meanwhile, or another user's.
    return ''
  }
}

/** Ended, and only waiting for its parent to notice. */
function isZombie(pid: string): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
  } catch {
    return true
  }
}

function signalOne(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended already.
  }
}
