import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findPrograms } from '../../../coordinator/src/commands/demo.ts'

const { execPath } = process
const root = join(import.meta.dirname, '../../..')

/** The command lines as an operator types them, from their sources. */
export const agentProgram = [execPath, join(root, 'agent/src/main.ts')] as const
export const coordinatorProgram = [execPath, join(root, 'coordinator/src/main.ts')] as const
export const programs = findPrograms()

export interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

export interface Running {
  readonly pid: number
  /** Everything that it has written so far, to either stream. */
  text(): string
  /** Waits until it has written something that matches. */
  said(pattern: RegExp, withinMillis?: number): Promise<RegExpExecArray>
  signal(name: NodeJS.Signals): void
  readonly ended: Promise<Ended>
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** Longer than anything takes where a dozen processes share two processors; what hangs ends here. */
const LIMIT = 60_000
const started = new Set<ChildProcess>()

/** Starts a program with an environment that holds nothing of ours but `env` and where compiled code is kept. */
export function start(
  program: readonly string[],
  args: readonly string[],
  options: StartOptions = {},
): Running {
  const [file = '', ...first] = program
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env
  const child = spawn(file, [...first, ...args], {
    cwd: options.cwd ?? tmpdir(),
    env: { PATH, HOME, NODE_COMPILE_CACHE, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  started.add(child)
  let out = ''
  let err = ''
  child.stdout.on('data', (part: Buffer) => {
    out += part.toString('utf8')
  })
  child.stderr.on('data', (part: Buffer) => {
    err += part.toString('utf8')
  })
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      started.delete(child)
      resolve({ code, out, err })
    })
  })
  const text = () => `${out}${err}`
  return {
    pid: child.pid ?? 0,
    text,
    signal: (name) => void child.kill(name),
    ended,
    async said(pattern, within = LIMIT) {
      let found = pattern.exec(text())
      await until(
        `it says ${pattern}`,
        () => {
          found = pattern.exec(text())
          if (!found && child.exitCode !== null)
            throw new Error(`it has ended without saying ${pattern}:\n${text()}`)
          return found !== null
        },
        within,
      )
      return found as RegExpExecArray
    },
  }
}

/** Runs a program to its end. One that hangs is ended and fails. */
export async function run(
  program: readonly string[],
  args: readonly string[],
  options?: StartOptions,
): Promise<Ended> {
  const running = start(program, args, options)
  const late = setTimeout(() => running.signal('SIGKILL'), LIMIT)
  const ended = await running.ended
  clearTimeout(late)
  if (ended.code === null)
    throw new Error(`${args.join(' ')} did not end within ${LIMIT / 1000} s:\n${running.text()}`)
  return ended
}

/** For `afterEach`: ends what a failed test has left running. */
export async function endAll(): Promise<void> {
  const left = [...started]
  for (const child of left) child.kill('SIGKILL')
  await Promise.all(
    left.map(
      (child) =>
        new Promise<void>((resolve) =>
          child.exitCode === null && child.signalCode === null
            ? child.once('close', () => resolve())
            : resolve(),
        ),
    ),
  )
}

/** Waits until it holds; fails when it does not in time. */
export async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  withinMillis = LIMIT,
): Promise<void> {
  const deadline = performance.now() + withinMillis
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${withinMillis / 1000} s`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Directories that `sweep` removes. */
export function createScratch(): { directory(): string; sweep(): void } {
  const made: string[] = []
  return {
    directory() {
      const path = mkdtempSync(join(tmpdir(), 'understudy-e2e-'))
      made.push(path)
      return path
    },
    sweep() {
      for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true })
    },
  }
}

/** Processes that live and carry `text` in their environment, such as `NAME=value` or a directory. */
export const processesWith = (text: string): readonly number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) return false
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(text)
      } catch {
        // It has ended meanwhile.
        return false
      }
    })
    .map(Number)
