import { type ChildProcess, spawn } from 'node:child_process'
import { setPriority } from 'node:os'
import { systemCodeOf } from '@understudy/shared/core/app-error'
import { ownService, WORKLOAD_KEY } from '../role/process-tree.ts'
import { GUARD_SCRIPT } from './guard-script.ts'

/** Ahead of the workload when there is more to do than processors. */
const PRIORITY = -10

export interface GuardEvents {
  /** One line of what it says: guard-script.ts. */
  onLine(line: string): void
  /** It has ended, or could not be started; once. */
  onEnd(why: string): void
}

export interface GuardProcess {
  readonly pid: number | undefined
  /** It reads what it is told. */
  readonly reading: boolean
  /**
   * Tells it what holds from now on. While it does not read, only the last of what it was told waits for it, so what
   * waits stays small however long that lasts.
   */
  tell(line: string): void
  /** Says goodbye. */
  leave(): void
  kill(): void
}

/**
 * Starts one guard. It is in a session of its own, so that a signal to the agent's group does not reach it, and it gets
 * no variable of the agent, least of all a mark of some workload. Needs the event loop of the calling thread only.
 */
export function startGuardProcess(bash: string, key: string, events: GuardEvents): GuardProcess {
  let child: ChildProcess | undefined
  let waiting: string | undefined
  let pending = ''
  let ended = false

  const end = (why: string) => {
    if (ended) return
    ended = true
    events.onEnd(why)
  }

  const write = (line: string) => {
    child?.stdin?.write(`${line};\n`, () => {
      if (waiting === undefined || ended) return
      const next = waiting
      waiting = undefined
      write(next)
    })
  }

  const onOutput = (text: string) => {
    const lines = (pending + text).split('\n')
    pending = lines.pop() ?? ''
    for (const line of lines) events.onLine(line)
  }

  try {
    const args = [`${WORKLOAD_KEY}=${key}`, String(process.pid), ownService() ?? '']
    // Its source is in a variable, so that a list of processes shows a line that can be read. Its input is a socket, as that
    // of a shell which rshd has started, for which bash would run the user's .bashrc first.
    child = spawn(bash, ['--norc', '-c', 'eval "$GUARD"', 'understudy-guard', ...args], {
      cwd: '/',
      detached: true,
      env: { PATH: process.env.PATH, LC_ALL: 'C', GUARD: GUARD_SCRIPT },
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    child.on('error', (error) => end(`${bash} cannot be run (${systemCodeOf(error) ?? error.message})`))
    child.on('exit', (code, signal) =>
      end(signal ? `it was ended by ${signal}` : `it ended with status ${code}`),
    )
    // It may end before it has read everything; its exit says so.
    child.stdin?.on('error', () => undefined)
    child.stdout?.setEncoding('latin1').on('data', onOutput)
    if (child.pid !== undefined) prefer(child.pid)
  } catch (error) {
    const code = systemCodeOf(error)
    setImmediate(() => end(`${bash} cannot be run (${code ?? String(error)})`))
  }

  return {
    get pid() {
      return child?.pid
    },
    get reading() {
      return child?.stdin?.writableLength === 0
    },
    tell(line) {
      if (child?.stdin?.writableLength) waiting = line
      else write(line)
    },
    leave() {
      waiting = undefined
      child?.stdin?.end('bye;\n')
    },
    kill() {
      child?.kill('SIGKILL')
    },
  }
}

function prefer(pid: number): void {
  try {
    setPriority(pid, PRIORITY)
  } catch {
    // Only root may. It works without, only later on a busy machine.
  }
}
