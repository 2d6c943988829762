import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { AppError } from '@understudy/shared/core/app-error'
import type { JudgeAnswer, JudgeRequest } from './judge.ts'
import type { Verdict } from './writer.ts'

/** Carried by everything that one demo starts. */
const MARK = 'DEMO_RUN'

export interface Broom {
  readonly mark: Readonly<Record<string, string>>
  /** Sweeps now, if anything is left. */
  sweep(): Promise<void>
}

/**
 * A shell that waits for this process to end, in whatever way, and then ends everything that carries the mark and
 * removes the directory. It is what makes `kill -9` of the demo leave nothing behind. What was only being started in one
 * round is found in the next.
 */
export function startBroom(directory: string): Broom {
  const run = randomUUID()
  const script = `cat > /dev/null
for round in 1 2 3; do
  for environ in $(grep -alzx '${MARK}=${run}' /proc/[0-9]*/environ 2> /dev/null); do
    entry=\${environ%/environ}
    kill -9 "\${entry#/proc/}" 2> /dev/null
  done
  sleep 0.1
done
rm -rf '${directory}'`
  const shell = spawn('/bin/sh', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  shell.stdin?.on('error', () => undefined)
  shell.unref()
  return {
    mark: { [MARK]: run },
    sweep: () =>
      new Promise((resolve) => {
        shell.ref()
        shell.once('exit', () => resolve())
        shell.once('error', () => resolve())
        shell.stdin?.end()
      }),
  }
}

export interface CoordinatorChild {
  readonly pid: number | undefined
  readonly url: string
  stop(): Promise<void>
  kill(): void
  readonly ended: Promise<void>
}

/** Starts the coordinator as a process of its own and waits until it listens. */
export async function startCoordinatorChild(options: {
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly onLog: (line: string) => void
}): Promise<CoordinatorChild> {
  const [file = '', ...args] = options.command
  const child = spawn(file, args, {
    env: { ...process.env, ...options.env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let last = ''
  for (const stream of [child.stdout, child.stderr])
    if (stream)
      createInterface({ input: stream }).on('line', (line) => {
        last = line
        options.onLog(line)
      })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const url = await new Promise<string>((resolve, reject) => {
    child.once('message', (message) => resolve((message as { url: string }).url))
    child.once('error', reject)
    void ended.then(() => reject(new AppError('internal', `the coordinator did not start: ${last}`)))
  })
  return {
    pid: child.pid,
    url,
    ended,
    kill: () => void child.kill('SIGKILL'),
    stop: () => stopChild(child, ended),
  }
}

async function stopChild(child: ChildProcess, ended: Promise<void>): Promise<void> {
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), 3000)
  await ended
  clearTimeout(late)
}

export interface JudgeChild {
  readonly pid: number | undefined
  /** Replaces the agent's client. With 0 writes per second it only reads, 100 times a second if nothing else is said. */
  write(agent: string, port: number, perSecond: number, readsPerSecond?: number): void
  /** Ends the agent's client and takes everything that was written away again. */
  rest(agent: string): Promise<void>
  mark(agent: string): void
  /** When another process than before the mark first answered, UTC ms; null when none has in time. */
  takeover(agent: string, withinMillis: number): Promise<number | null>
  verify(agent: string): Promise<{ verdict: Verdict; gapMillis: number }>
  overlaps(witness: string): Promise<readonly string[]>
  stop(): Promise<void>
}

export function startJudgeChild(options: {
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly onCounters: (counters: (JudgeAnswer & { kind: 'counters' })['counters']) => void
}): JudgeChild {
  const [file = '', ...args] = options.command
  const child = spawn(file, args, {
    env: { ...process.env, ...options.env },
    detached: true,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const answers = new Map<number, (answer: JudgeAnswer) => void>()
  let ids = 0
  child.stdin?.on('error', () => undefined)
  if (child.stdout)
    createInterface({ input: child.stdout }).on('line', (line) => {
      const answer = JSON.parse(line) as JudgeAnswer
      if (answer.kind === 'counters') return options.onCounters(answer.counters)
      answers.get(answer.id)?.(answer)
      answers.delete(answer.id)
    })
  const tell = (message: JudgeRequest) => child.stdin?.write(`${JSON.stringify(message)}\n`)
  const ask = <K extends JudgeAnswer['kind']>(
    message: (id: number) => JudgeRequest,
  ): Promise<JudgeAnswer & { kind: K }> => {
    ids += 1
    const id = ids
    return new Promise((resolve, reject) => {
      answers.set(id, (answer) => resolve(answer as JudgeAnswer & { kind: K }))
      void ended.then(() => reject(new AppError('internal', 'the demo client has ended')))
      tell(message(id))
    })
  }
  return {
    pid: child.pid,
    write: (agent, port, perSecond, readsPerSecond) =>
      void tell({ kind: 'write', agent, port, perSecond, readsPerSecond }),
    rest: async (agent) => void (await ask<'rest'>((id) => ({ kind: 'rest', id, agent }))),
    mark: (agent) => void tell({ kind: 'mark', agent }),
    takeover: async (agent, withinMillis) =>
      (await ask<'takeover'>((id) => ({ kind: 'takeover', id, agent, withinMillis }))).at,
    verify: (agent) => ask<'verdict'>((id) => ({ kind: 'verify', id, agent })),
    overlaps: async (witness) =>
      (await ask<'overlaps'>((id) => ({ kind: 'overlaps', id, witness }))).overlaps,
    async stop() {
      tell({ kind: 'stop' })
      child.stdin?.end()
      await stopChild(child, ended)
    },
  }
}
