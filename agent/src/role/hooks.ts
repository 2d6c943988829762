import { type ChildProcess, spawn } from 'node:child_process'
import { request } from 'node:http'
import { messageOf } from '@understudy/shared/core/app-error'
import { between, type Clock, type Millis, millis, sleep } from '@understudy/shared/core/time'
import type { Hook } from '@understudy/shared/failover/member-types'
import type { Logger } from 'pino'
import type { Workload } from '../config/workload.ts'
import { killMarked, WORKLOAD_KEY } from './process-tree.ts'

/** Output that is kept of one hook: the end, where the reason stands. */
const KEPT_OUTPUT = 16 * 1024
/** Who is up is noticed soon, who takes long is asked less often, and asking takes a third of the time at most. */
const HEALTH_PAUSE = { least: millis(10), most: millis(100), share: 1 / 40 }
const HTTP_TIMEOUT = millis(2000)

export interface HookOutcome {
  readonly ok: boolean
  /** Why it failed, with the end of its output, or why it was done in another way; undefined when it simply worked. */
  readonly why?: string
  readonly output: string
}

/** Runs the commands that the operator wrote for one workload. Never throws: every end is an outcome. */
export interface Hooks {
  run(hook: Hook, facts: HookFacts, signal: AbortSignal): Promise<HookOutcome>
  /** Ends every process that a hook has started and that still runs. */
  kill(): Promise<HookOutcome>
}

/** What a hook is told about the moment, as AGENT_… variables. */
export interface HookFacts {
  readonly agent: string
  readonly instance: string
  readonly epoch: number
}

export function createHooks(workload: Workload, key: string, clock: Clock, log: Logger): Hooks {
  const { hooks } = workload

  const environment = (facts: HookFacts): NodeJS.ProcessEnv => ({
    ...inherited(),
    ...workload.environment,
    AGENT_ID: facts.agent,
    AGENT_INSTANCE_ID: facts.instance,
    AGENT_EPOCH: String(facts.epoch),
    [WORKLOAD_KEY]: key,
  })

  const command = (
    name: string,
    { command: words, timeout_seconds: timeout }: { command: string[]; timeout_seconds: Millis },
    facts: HookFacts,
    signal: AbortSignal,
  ) => runCommand({ name, words, timeout, cwd: workload.directory, env: environment(facts), signal, log })

  async function untilHealthy(facts: HookFacts, signal: AbortSignal): Promise<HookOutcome> {
    const { health } = hooks
    const began = clock.mono()
    const deadline = began + health.timeout_seconds
    for (;;) {
      const asked = clock.mono()
      const outcome =
        'http' in health ? await askHttp(health.http, signal) : await command('health', health, facts, signal)
      if (outcome.ok || signal.aborted) return outcome
      if (clock.mono() >= deadline)
        return {
          ...outcome,
          why: `not healthy within ${health.timeout_seconds / 1000} s: ${outcome.why ?? 'no answer'}`,
        }
      const now = clock.mono()
      await sleep(clock, healthPause(between(began, now), between(asked, now)), signal).catch(() => undefined)
    }
  }

  return {
    run(hook, facts, signal) {
      switch (hook) {
        case 'start':
        case 'stop':
          return command(hook, hooks[hook], facts, signal)
        // Without a way to hold it still, a workload that has ended is still enough.
        case 'freeze':
          return hooks.freeze
            ? command('freeze', hooks.freeze, facts, signal)
            : command('stop', hooks.stop, facts, signal)
        case 'thaw':
          return hooks.thaw
            ? command('thaw', hooks.thaw, facts, signal)
            : command('start', hooks.start, facts, signal)
        case 'health':
          return untilHealthy(facts, signal)
      }
    },
    async kill() {
      try {
        const ended = await killMarked(key)
        return { ok: true, output: `ended ${ended} processes` }
      } catch (error) {
        return { ok: false, why: messageOf(error), output: '' }
      }
    },
  }
}

/** `waited` for it to be healthy so far; the last time it was asked `took` so long. */
export const healthPause = (waited: Millis, took: Millis): Millis =>
  millis(Math.min(Math.max(HEALTH_PAUSE.least, waited * HEALTH_PAUSE.share, 2 * took), HEALTH_PAUSE.most))

/** The agent's own environment without its secrets and settings. */
const OWN_VARIABLES = /^(JOIN_TOKEN|JOIN_TOKEN_FILE|MALLOC_\w+)$/

function inherited(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !OWN_VARIABLES.test(name)))
}

interface CommandRun {
  readonly name: string
  readonly words: readonly string[]
  readonly timeout: Millis
  readonly cwd: string | undefined
  readonly env: NodeJS.ProcessEnv
  readonly signal: AbortSignal
  readonly log: Logger
}

/**
 * Runs one command in a process group of its own. The group is killed when its time is up or `signal` aborts. A
 * command that succeeds may leave processes behind: that is how a workload is started.
 */
function runCommand({ name, words, timeout, cwd, env, signal, log }: CommandRun): Promise<HookOutcome> {
  const [file = '', ...rest] = words
  return new Promise((resolve) => {
    let output = ''
    let reason: string | undefined
    let child: ChildProcess
    try {
      child = spawn(file, rest, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    } catch (error) {
      return resolve({ ok: false, why: `${name}: ${file} cannot be run (${messageOf(error)})`, output })
    }
    const end = (why: string) => {
      reason ??= why
      killGroup(child.pid)
    }
    const timer = setTimeout(
      () => end(`it did not finish within ${timeout / 1000} s and was killed`),
      timeout,
    )
    const onAbort = () => end('it was called off')
    signal.addEventListener('abort', onAbort, { once: true })
    const keep = (part: Buffer) => {
      output = (output + part.toString('utf8')).slice(-KEPT_OUTPUT)
    }
    child.stdout?.on('data', keep)
    child.stderr?.on('data', keep)
    const finish = (why: string | undefined) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      const said = lastLines(output)
      log.debug({ event: 'hook.ended', hook: name, ok: why === undefined, why, output: said })
      resolve(
        why === undefined
          ? { ok: true, output }
          : { ok: false, why: `${name} hook: ${why}${said && ` (${said})`}`, output },
      )
    }
    child.on('error', (error) => finish(`${file} cannot be run: ${error.message}`))
    // Its pipes may live on in what it has started; only its own end counts.
    child.on('exit', (code, killedBy) => {
      if (reason) return finish(reason)
      if (code === 0) return finish(undefined)
      finish(killedBy ? `it was ended by ${killedBy}` : `it ended with status ${code}`)
    })
  })
}

const lastLines = (output: string): string => output.trim().split('\n').slice(-3).join(' / ').slice(-300)

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended already.
  }
}

/** One GET; healthy is any status from 200 to 299. */
function askHttp(url: string, signal: AbortSignal): Promise<HookOutcome> {
  return new Promise((resolve) => {
    const outgoing = request(url, { agent: false, timeout: HTTP_TIMEOUT, signal }, (response) => {
      const { statusCode = 0 } = response
      response.resume()
      const ok = statusCode >= 200 && statusCode < 300
      resolve(ok ? { ok, output: '' } : { ok, why: `${url} answers ${statusCode}`, output: '' })
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error('it does not answer')))
    outgoing.on('error', (error) => resolve({ ok: false, why: `${url}: ${error.message}`, output: '' }))
    outgoing.end()
  })
}
