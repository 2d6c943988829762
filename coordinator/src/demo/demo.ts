import { spawn } from 'node:child_process'
import { cp, mkdtemp } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { everyPeriod, millis, systemClock } from '@understudy/shared/core/time'
import type { DemoView } from '@understudy/shared/protocol/live'
import { runCiStory } from './ci-story.ts'
import { demoAgents, startFleet } from './fleet-story.ts'
import type { JudgeAnswer } from './judge.ts'
import { defineLab, findLabModel } from './lab-story.ts'
import { judgeMoves, runLiveStory } from './live-story.ts'
import { type RigPrograms, startRig } from './rig.ts'

export interface DemoOptions {
  readonly port: number | undefined
  readonly seed: number
  readonly agents: number
  readonly openBrowser: boolean
  readonly script: 'ci' | undefined
  readonly programs: RigPrograms
  readonly keepLogs: boolean
}

const DEFAULT_PORT = 8000
const WRITES_PER_SECOND = 20
const SHOW_EVERY = millis(500)

/**
 * Starts everything, tells the story, and ends everything when `signal` aborts. Progress goes to standard error; with
 * a script the result is one line of JSON on standard output. Returns the exit code.
 */
export async function runDemo(options: DemoOptions, signal: AbortSignal): Promise<number> {
  const { seed, script, programs } = options
  const agents = demoAgents(options.agents)
  if (script === 'ci' && agents.length < 4)
    throw new AppError('input_invalid', 'the script needs at least four agents', {
      hint: 'Leave --agents out.',
    })
  tell(`Demo fleet: ${agents.length} agents, 20 pools, simulated AWS (seed ${seed}). Nothing is billed.`)
  const story: DemoView['story'] = []
  let counters: DemoView['counters'] = []
  const say = (text: string) => {
    tell(text)
    story.push({ at: Date.now(), text })
  }
  const rig = await startRig({
    seed,
    programs,
    port: await freePort(script === undefined ? options.port : (options.port ?? 0)),
    coordinatorEnv: { UNDERSTUDY_DEFAULT_MODEL: 'true' },
    onCounters: (next) => {
      counters = toCounters(next)
    },
  })
  let lastLine = ''
  const stop = new AbortController()
  const ends = AbortSignal.any([signal, stop.signal])
  const shown = showAlways(() => rig.operator.show({ seed, story, counters }), ends)
  try {
    tell(`\n  ${rig.coordinator.url}\n`)
    if (options.openBrowser) openBrowser(rig.coordinator.url)
    await orAbort(startFleet(rig, agents, WRITES_PER_SECOND, say), ends)
    if (script === 'ci') {
      const result = await orAbort(runCiStory(rig, seed, say), ends)
      lastLine = `${JSON.stringify(result)}\n`
      return result.ok ? 0 : 1
    }
    const judging = judgeMoves(rig, say, ends)
    void showLab(rig.coordinator.url, say, ends)
    await orAbort(runLiveStory(rig, say, ends), ends).catch((error: unknown) => {
      if (ends.aborted) throw error
      say(`The story stops here: ${messageOf(error)}. Everything goes on; press Interrupt on any agent.`)
    })
    tell(`Next: docs/quickstart.md tells how to protect a real instance. Ctrl-C ends everything.`)
    await orAbort(Promise.race([rig.coordinator.ended, judging]), ends)
    return 1
  } catch (error) {
    if (signal.aborted) return 130
    throw error
  } finally {
    stop.abort()
    await shown
    if (options.keepLogs) tell(`Logs are kept: ${await keepLogs(rig.directory)}`)
    tell('Stopping …')
    await rig.close()
    process.stdout.write(lastLine)
  }
}

const tell = (text: string) => void process.stderr.write(`${text}\n`)

/** Lets go of `task` as soon as the demo is to end. */
function orAbort<T>(task: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    task.then(resolve, reject)
  })
}

async function showAlways(show: () => Promise<void>, signal: AbortSignal): Promise<void> {
  // The page is not the story: when it cannot be told now, it is told half a second later.
  await everyPeriod(systemClock, SHOW_EVERY, signal, () => show().catch(() => undefined))
}

const toCounters = (counters: (JudgeAnswer & { kind: 'counters' })['counters']): DemoView['counters'] =>
  counters.map(({ agent, sent, acked, retried, lost }) => ({ agent_id: agent, sent, acked, retried, lost }))

/** The port that was asked for, or 8000, or the next one that is free. */
async function freePort(wanted: number | undefined): Promise<number> {
  if (wanted !== undefined) {
    if (wanted === 0 || (await isFree(wanted))) return wanted
    throw new AppError('port_in_use', `the port ${wanted} is in use`, {
      hint: 'Choose another one with --port, or leave it out: the next free one is taken.',
    })
  }
  for (let port = DEFAULT_PORT; port < DEFAULT_PORT + 100; port += 1) if (await isFree(port)) return port
  return 0
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })

/** Without the Lab everything else goes on. */
async function showLab(url: string, say: (text: string) => void, signal: AbortSignal): Promise<void> {
  const folder = findLabModel()
  if (folder === undefined) return
  try {
    await defineLab(url, folder)
    say('The Lab has model-001 to model-003 and i-lab-test-001: docs/lab.md has what to try with them.')
  } catch (error) {
    if (!signal.aborted) say(`The Lab has no models: ${messageOf(error)}`)
  }
}

/** Only where somebody sits in front of it. */
function openBrowser(url: string): void {
  const display = process.env.DISPLAY ?? process.env.WAYLAND_DISPLAY
  if (!process.stderr.isTTY || !display) return
  spawn('xdg-open', [url], { stdio: 'ignore', detached: true })
    .on('error', () => undefined)
    .unref()
}

async function keepLogs(directory: string): Promise<string> {
  const kept = await mkdtemp(join(tmpdir(), 'understudy-logs-'))
  await cp(join(directory, 'logs'), kept, { recursive: true })
  return kept
}
