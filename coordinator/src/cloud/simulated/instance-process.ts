import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'

/** In the environment of everything that runs on one simulated instance. */
const INSTANCE_MARK = 'SIMULATED_INSTANCE'

export interface InstanceProcess {
  readonly pid: number
  /** Resolves when the first process of the instance ends, however it ends. */
  readonly ended: Promise<void>
  /** What pulling the plug does: every process of the instance gets the signal, the daemon and the workload alike. */
  signalAll(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void
  /**
   * SIGKILL to every process of it, for good. Many instances that end at once are found in one look at all processes,
   * beside whatever else this process does: a look takes long on a busy machine.
   */
  end(): Promise<void>
}

/** Starts the one program that the image of an instance runs at boot. Its output goes to `logFile`. */
export function startInstanceProcess(options: {
  readonly instanceId: string
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly logFile: string
}): InstanceProcess {
  const { instanceId, command, env, cwd, logFile } = options
  // Two simulated clouds on one machine may both have an i-demo001; no two have one directory.
  const mark = `${instanceId} ${cwd}`
  const [file = '', ...args] = command
  const log = openSync(logFile, 'a')
  let child: ChildProcess
  try {
    child = spawn(file, args, {
      cwd,
      env: { ...baseEnvironment(), ...env, [INSTANCE_MARK]: mark },
      detached: true,
      stdio: ['ignore', log, log],
    })
  } finally {
    closeSync(log)
  }
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  return {
    pid: child.pid ?? 0,
    ended,
    signalAll: (signal) => signalMarked(`${INSTANCE_MARK}=${mark}`, signal),
    end() {
      // Its first process leads a group of its own.
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) kill(-child.pid)
      return endMarked(`${INSTANCE_MARK}=${mark}`)
    },
  }
}

/** What is to be ended with the next look. */
let next: { readonly marks: Set<string>; readonly done: Promise<void> } | undefined

function endMarked(mark: string): Promise<void> {
  if (!next) {
    const marks = new Set<string>()
    next = {
      marks,
      done: new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
        next = undefined
        return killMarked(marks)
      }),
    }
  }
  next.marks.add(mark)
  return next.done
}

async function killMarked(marks: ReadonlySet<string>): Promise<void> {
  const seen = new Set<string>()
  for (let round = 0, found = 1; found > 0 && round < ROUNDS; round += 1) {
    found = 0
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && !seen.has(name))) {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')
      if (!environment.split('\0').some((entry) => marks.has(entry))) continue
      seen.add(pid)
      found += 1
      kill(Number(pid))
    }
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended already.
  }
}

/** Looks at all processes: one that was being started during the last is found in the next. */
const ROUNDS = 20

/** A fresh machine: nothing of ours leaks into it but where programs are found, and where Node keeps compiled code. */
function baseEnvironment(): Record<string, string> {
  const { PATH = '', HOME = '', LANG = 'C.UTF-8', TZ = '', NODE_COMPILE_CACHE = '' } = process.env
  return { PATH, HOME, LANG, ...(TZ ? { TZ } : {}), ...(NODE_COMPILE_CACHE ? { NODE_COMPILE_CACHE } : {}) }
}

/** Reads /proc; a process that is being started meanwhile is found in the next round. */
function signalMarked(mark: string, signal: NodeJS.Signals): void {
  const seen = new Set<string>()
  for (let round = 0; round < ROUNDS; round += 1) {
    const fresh = readdirSync('/proc').filter(
      (pid) => /^\d+$/.test(pid) && !seen.has(pid) && carries(pid, mark),
    )
    if (fresh.length === 0) return
    for (const pid of fresh) {
      seen.add(pid)
      try {
        process.kill(Number(pid), signal)
      } catch {
        // It has ended already.
      }
    }
  }
}

function carries(pid: string, mark: string): boolean {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, 'latin1')}`.includes(`\0${mark}\0`)
  } catch {
    return false
  }
}
