import { readdirSync, readFileSync } from 'node:fs'
import { type Millis, millis, seconds } from '@understudy/shared/core/time'

/** Set in the environment of every hook, and so of everything that a hook starts. */
export const WORKLOAD_KEY = 'AGENT_WORKLOAD_KEY'

/** A process that was waiting for a disk, or has much memory, ends later than it is killed. */
const KILL_PATIENCE = seconds(5)
/** It also stands still only when what it waits for is done; the others wait meanwhile. */
const PAUSE_PATIENCE = millis(500)
/** At first often, for processes that were being started while the others were killed. */
const LOOK = { least: 2, most: 50 }

/**
 * Kills every process of the workload, and what those have started meanwhile. Linux only: it reads /proc. Processes
 * that a service manager starts for a hook are not found; for those `stop` must work. Returns how many there were.
 * @throws Error when one has not ended after some seconds: it may still be doing something
 */
export async function killMarked(key: string): Promise<number> {
  const killed = new Set<number>()
  const left = await lookAgain(KILL_PATIENCE, () => {
    const pids = processesOf(key)
    for (const pid of pids) {
      killed.add(pid)
      signalOne(pid, 'SIGKILL')
    }
    return pids
  })
  if (left.length === 0) return killed.size
  throw new Error(
    `processes ${left.join(', ')} were killed and have not ended after ${KILL_PATIENCE / 1000} s`,
  )
}

/**
 * Stops every process of the workload (SIGSTOP), and returns once the kernel says that they stand still. Returns how
 * many there are.
 */
export async function pauseMarked(key: string): Promise<number> {
  let pids: readonly number[] = []
  const moving = await lookAgain(PAUSE_PATIENCE, () => {
    pids = processesOf(key)
    const left = pids.filter((pid) => !isPaused(pid))
    for (const pid of left) signalOne(pid, 'SIGSTOP')
    return left
  })
  if (moving.length === 0) return pids.length
  throw new Error(`processes of the workload do not stand still: ${moving.join(', ')}`)
}

/** Until nothing is left or the time is up; returns what is left then. */
async function lookAgain(patience: Millis, look: () => readonly number[]): Promise<readonly number[]> {
  const end = performance.now() + patience
  for (let pause = LOOK.least; ; pause = Math.min(pause * 1.2, LOOK.most)) {
    const left = look()
    if (left.length === 0 || performance.now() >= end) return left
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
}

/** Lets them go on. */
export function resumeMarked(key: string): void {
  for (const pid of processesOf(key)) signalOne(pid, 'SIGCONT')
}

/** What /proc says of one process. */
export interface ProcessFacts {
  readonly pid: number
  readonly parent: number
  /** It was begun by a hook of this workload, as its environment says. */
  readonly marked: boolean
  /** It is in the control group that systemd has made for this daemon. */
  readonly inService: boolean
}

/**
 * Which processes are the workload's: those that carry the mark; whatever descends from one, because many programs
 * write over their environment; and whatever else lives on in the daemon's own service without being its child. Pure.
 */
export function workloadAmong(processes: readonly ProcessFacts[], self: number): number[] {
  const byPid = new Map(processes.map((process) => [process.pid, process]))
  const isOurs = (start: ProcessFacts): boolean => {
    let belongs = start.inService
    const seen = new Set<number>()
    for (let at: ProcessFacts | undefined = start; at && !seen.has(at.pid); at = byPid.get(at.parent)) {
      if (at.marked) return true
      // What the daemon runs for itself.
      if (at.parent === self) belongs = false
      seen.add(at.pid)
    }
    return belongs
  }
  return processes.filter((process) => process.pid !== self && isOurs(process)).map(({ pid }) => pid)
}

function processesOf(key: string): number[] {
  const mark = `${WORKLOAD_KEY}=${key}\0`
  const service = ownService()
  const processes: ProcessFacts[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || /[ZX-]/.test(stateOf(name))) continue
    processes.push({
      pid: Number(name),
      parent: parentOf(name),
      marked: environmentOf(name).includes(mark),
      inService: service !== undefined && serviceOf(name) === service,
    })
  }
  return workloadAmong(processes, process.pid)
}

/** The control group of the service that systemd has made for this daemon alone; undefined where there is none. */
export const ownService = (): string | undefined => serviceOf('self')

/** The control group of a systemd service; undefined in a session, a container or a scope, which others share. */
function serviceOf(pid: string): string | undefined {
  const path = /^0::(.*)$/m.exec(read(`/proc/${pid}/cgroup`))?.[1]
  return path && /\/[^/]+\.service$/.test(path) && process.env.INVOCATION_ID ? path : undefined
}

const environmentOf = (pid: string): string => `${read(`/proc/${pid}/environ`)}\0`

const parentOf = (pid: string): number =>
  Number(/^PPid:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0)

/** The letter of proc(5); `-` for one that is gone. */
const stateOf = (path: string): string => /^State:\s+(\S)/m.exec(read(`/proc/${path}/status`))?.[1] ?? '-'

/** Empty for what has ended meanwhile, or is another user's. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

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

function signalOne(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended already.
  }
}
