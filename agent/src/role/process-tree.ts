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
      signalOne(pid, 'SIGKILL')
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error(`processes ${markedProcesses(key).join(', ')} do not end`)
}

/**
 * Stops every process whose environment carries the key (SIGSTOP), and returns once the kernel says that they stand
 * still. Returns how many there are.
 */
export async function pauseMarked(key: string): Promise<number> {
  for (let round = 0; round < ROUNDS; round += 1) {
    const pids = markedProcesses(key)
    const moving = pids.filter((pid) => !isPaused(pid))
    if (moving.length === 0) return pids.length
    for (const pid of moving) signalOne(pid, 'SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  throw new Error(`processes of the workload do not stand still: ${markedProcesses(key).join(', ')}`)
}

/** Lets them go on. */
export function resumeMarked(key: string): void {
  for (const pid of markedProcesses(key)) signalOne(pid, 'SIGCONT')
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
const isZombie = (pid: string): boolean => /[Z-]/.test(stateOf(pid))

/** Every thread of it stands still. */
function isPaused(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) =>
      /[TtZX-]/.test(stateOf(`${pid}/task/${thread}`)),
    )
  } catch {
    return true
  }
}

/** The letter of proc(5); `-` for one that is gone. */
function stateOf(path: string): string {
  try {
    return /^State:\s+(\S)/m.exec(readFileSync(`/proc/${path}/status`, 'latin1'))?.[1] ?? '-'
  } catch {
    return '-'
  }
}

function signalOne(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended already.
  }
}
