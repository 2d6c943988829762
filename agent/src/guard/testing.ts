import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type Mono, systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { WORKLOAD_KEY } from '../role/process-tree.ts'
import { bootTime } from './boot-time.ts'
import { type Guard, type GuardParts, startGuard } from './guard.ts'

let count = 0
/** Like a real one, with everything in it that a pattern would take for something else. */
export function freshKey(): string {
  count += 1
  return `orders.db/i-0[a-f]*:/var/lib/(x)?$ {${process.pid}}^${count}|\\d+`
}

export interface TestWorkload {
  readonly child: ChildProcess
  readonly pid: number
  /** When it was seen to end, by the guard's clock. */
  readonly ended: Promise<Mono>
}

/**
 * A process with the mark of `key` that prints the ids of what `script` starts with `echo $!`, then sleeps. Returns when
 * it sleeps, or has been killed before.
 */
export async function startWorkload(
  key: string,
  script = '',
): Promise<TestWorkload & { started: () => number[] }> {
  const child = spawn('sh', ['-c', `${script}\necho ready; exec sleep 300`], {
    env: { PATH: process.env.PATH, [WORKLOAD_KEY]: key },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let over = false
  const ended = once(child, 'exit').then(() => {
    over = true
    return bootTime()
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  while (!over && !output.includes('ready')) await Promise.race([once(child.stdout, 'data'), ended])
  return { child, pid: child.pid ?? 0, ended, started: () => (output.match(/\d+/g) ?? []).map(Number) }
}

/** Whether the process runs: one that waits for its parent to look is gone. */
export function runs(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
  } catch {
    return false
  }
}

export interface TestGuard extends Guard {
  readonly killed: number[]
  readonly events: string[]
  /** Why each one that has ended did. */
  readonly ends: string[]
}

export function testGuard(parts: Partial<GuardParts> & { key: string }): TestGuard {
  const killed: number[] = []
  const events: string[] = []
  const ends: string[] = []
  const write = (line: string): void => {
    const { event, why } = JSON.parse(line)
    events.push(event)
    if (event === 'guard.ended') ends.push(why)
  }
  const log = pino({ level: 'debug' }, { write })
  const guard = startGuard({
    clock: systemClock,
    random: Math.random,
    log,
    onKilled: (processes) => killed.push(processes),
    ...parts,
  })
  return Object.defineProperties({} as TestGuard, {
    ...Object.getOwnPropertyDescriptors(guard),
    killed: { value: killed },
    events: { value: events },
    ends: { value: ends },
  })
}

/** A process of its own that holds a guard: `body` is JavaScript with `guard`, `say` and `pause` (milliseconds). */
export function startHolder(key: string, body: string): ChildProcess & { said: () => string[] } {
  const source = `
    import { writeSync } from 'node:fs'
    import { startGuard } from ${JSON.stringify(new URL('guard.ts', import.meta.url).href)}
    import { systemClock as clock } from ${JSON.stringify(import.meta.resolve('@understudy/shared/core/time'))}
    const log = { info() {}, warn() {}, error() {}, debug() {} }
    const say = (text) => writeSync(1, text + '\\n')
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
    const onKilled = (processes) => say('killed ' + processes)
    const guard = startGuard({ key: ${JSON.stringify(key)}, clock, random: Math.random, log, onKilled })
    ${body}`
  return startModule(source)
}

/** Runs JavaScript as a module in a process of its own. */
export function startModule(source: string): ChildProcess & { said: () => string[] } {
  const child = spawn(process.execPath, ['--no-warnings', '--input-type=module', '-e', source], {
    cwd: import.meta.dirname,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  return Object.assign(child, { said: () => output.split('\n').slice(0, -1) })
}
