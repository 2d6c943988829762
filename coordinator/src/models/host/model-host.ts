import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import type { Clock, Millis } from '@understudy/shared/core/time'
import { type ModelRefusal, modelRefusals } from '@understudy/shared/protocol/model-refusals'
import { type ModelFacts, modelFactsSchema } from '@understudy/shared/protocol/models'
import { modelRefused } from '../refusal.ts'
import {
  type Batch,
  type BatchResult,
  createFrameReader,
  decodeJson,
  decodeResult,
  encodeBatch,
  encodeFrame,
  encodeJson,
  type Frame,
  type FrameKind,
  frameKinds,
  LONGEST_ANSWER,
  type LoadRequest,
} from './frames.ts'
import { type HostLimits, limitScript, rssOf } from './limits.ts'

/** Why a process has ended. */
export interface HostEnd {
  readonly reason: Extract<ModelRefusal, 'TIME_LIMIT' | 'MEMORY_LIMIT' | 'HOST_DIED'> | 'closed'
  readonly said: string
}

/** The process of one model. */
export interface ModelHost {
  readonly pid: number
  /** Calls that have not been answered. */
  readonly inFlight: number
  /** Resolves once, when the process has ended. */
  readonly ended: Promise<HostEnd>
  readonly alive: boolean
  /** In bytes; undefined where the system does not say. */
  rss(): number | undefined
  /** @throws AppError `model_refused` for what the file is, `unavailable` when the process has ended */
  scan(file: Uint8Array): Promise<ModelFacts>
  /** @throws AppError `model_refused` (LOAD_FAILED, MEMORY_LIMIT, TIME_LIMIT), `unavailable` */
  load(
    request: Omit<LoadRequest, 'modelBytes' | 'scalerBytes'>,
    model: Uint8Array,
    scaler: Uint8Array | undefined,
  ): Promise<void>
  /**
   * One value for each row, as the model says it. Batches are run one after another.
   * @throws AppError `model_refused` (RUN_FAILED, OUTPUT_SHAPE), `unavailable` when the process has ended, also by its limits
   */
  run(batch: Batch): Promise<BatchResult>
  /** Ends it at once. */
  close(): Promise<void>
}

export interface HostSetup {
  readonly limits: HostLimits
  readonly clock: Clock
}

/** The program of the process: beside the bundle, or in the sources. */
function programOf(): string {
  const bundled = join(import.meta.dirname, 'coordinator-model-host.js')
  return existsSync(bundled) ? bundled : join(import.meta.dirname, 'host-process.ts')
}

/** Starts a process that has nothing loaded yet. */
export function startHost({ limits, clock }: HostSetup): ModelHost {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-model-'))
  const child = spawn(
    '/bin/sh',
    ['-c', limitScript(limits), 'sh', process.execPath, '--max-old-space-size=128', programOf()],
    { cwd: directory, env: {}, stdio: ['ignore', 'ignore', 'pipe', 'pipe'] },
  )
  return createHost(child, directory, limits, clock)
}

interface Answer<T> {
  readonly expected: FrameKind
  readonly decode: (content: Uint8Array) => T
}

const answers = {
  scanned: {
    expected: frameKinds.scanned,
    decode: (content: Uint8Array): ModelFacts => modelFactsSchema.parse(decodeJson(content)),
  },
  loaded: { expected: frameKinds.loaded, decode: () => undefined },
  result: { expected: frameKinds.result, decode: decodeResult },
} as const

const NONSENSE: HostEnd = {
  reason: 'HOST_DIED',
  said: 'the process of the model sent what cannot be read, so it was ended',
}

interface Call {
  readonly resolve: (frame: Frame) => void
  readonly reject: (error: unknown) => void
}

function createHost(child: ChildProcess, directory: string, limits: HostLimits, clock: Clock): ModelHost {
  const socket = child.stdio[3] as Socket
  const waiting = new Map<number, Call>()
  const inOrder = createSerial()
  let calls = 0
  let queued = 0
  let end: HostEnd | undefined
  let stderr = ''
  let resolveEnd: (end: HostEnd) => void = () => undefined
  const ended = new Promise<HostEnd>((resolve) => (resolveEnd = resolve))

  /** The first reason is the one that counts; the signal cannot be refused. */
  function kill(why: HostEnd): void {
    if (end) return
    end = why
    child.kill('SIGKILL')
    failAll()
  }

  function failAll(): void {
    for (const { reject } of waiting.values()) reject(gone(end))
    waiting.clear()
  }

  function onGone(said: string): void {
    cancelWatch()
    end ??= {
      reason: 'HOST_DIED',
      said: `the process of the model ${said}${stderr ? `: ${stderr.trim()}` : ''}`,
    }
    failAll()
    rmSync(directory, { recursive: true, force: true })
    resolveEnd(end)
  }
  child.once('error', (error) => onGone(`could not be started (${error.message})`))
  child.once('exit', (code, signal) => onGone(`ended with ${signal ?? `exit code ${code}`}`))
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString('utf8')).slice(-500)
  })
  socket.on('error', () => undefined)
  const read = createFrameReader((frame) => {
    waiting.get(frame.call)?.resolve(frame)
    waiting.delete(frame.call)
  }, LONGEST_ANSWER)
  socket.on('data', (chunk: Uint8Array) => {
    try {
      read(chunk)
    } catch {
      kill(NONSENSE)
    }
  })

  let cancelWatch = () => {}
  function watch(): void {
    cancelWatch = clock.timer(limits.watch, () => {
      const rss = child.pid === undefined ? undefined : rssOf(child.pid)
      if (rss !== undefined && rss > limits.rssBytes)
        return kill({
          reason: 'MEMORY_LIMIT',
          said: `the model took ${toMib(rss)} MiB of memory; it may have ${toMib(limits.rssBytes)}`,
        })
      watch()
    })
  }
  watch()

  /** The limit runs from when the process is given the call, not from when it was asked for. */
  function ask<T>(kind: FrameKind, limit: Millis, answer: Answer<T>, ...parts: Uint8Array[]): Promise<T> {
    const { expected, decode } = answer
    queued += 1
    return inOrder(async () => {
      if (end) throw gone(end)
      calls += 1
      const call = calls
      const answered = new Promise<Frame>((resolve, reject) => waiting.set(call, { resolve, reject }))
      const cancel = clock.timer(limit, () =>
        kill({
          reason: 'TIME_LIMIT',
          said: `the model did not answer within ${limit} ms, so its process was ended`,
        }),
      )
      try {
        // One system call for all of them where there is room.
        socket.cork()
        for (const part of encodeFrame(kind, call, ...parts)) socket.write(part)
        socket.uncork()
        const frame = await answered
        if (frame.kind === frameKinds.failed) throw failureOf(frame)
        if (frame.kind !== expected) throw new RangeError(`a frame of the kind ${frame.kind}`)
        return decode(frame.content)
      } catch (error) {
        if (isAppError(error)) throw error
        // What the process says cannot be read, so that nothing it says can be believed.
        kill(NONSENSE)
        throw gone(end)
      } finally {
        cancel()
      }
    }).finally(() => {
      queued -= 1
    })
  }

  return {
    pid: child.pid ?? 0,
    get inFlight() {
      return queued
    },
    ended,
    get alive() {
      return end === undefined
    },
    rss: () => (child.pid === undefined || end ? undefined : rssOf(child.pid)),
    async scan(file) {
      return ask(frameKinds.scan, limits.load, answers.scanned, file)
    },
    async load(request, model, scaler) {
      const whole: LoadRequest = { ...request, modelBytes: model.length, scalerBytes: scaler?.length ?? 0 }
      const said = encodeJson(whole)
      const length = new Uint8Array(new Uint32Array([said.length]).buffer)
      const parts = [length, said, model, ...(scaler ? [scaler] : [])]
      await ask(frameKinds.load, limits.load, answers.loaded, ...parts)
    },
    async run(batch) {
      const result = await ask(frameKinds.batch, limits.call, answers.result, ...encodeBatch(batch))
      if (result.values.length !== batch.rows)
        throw modelRefused(
          'OUTPUT_SHAPE',
          `the model gave ${result.values.length} values for ${batch.rows} rows`,
        )
      return result
    },
    async close() {
      kill({ reason: 'closed', said: 'the process of the model was ended' })
      await ended
    },
  }
}

function failureOf({ content }: Frame): AppError {
  const { code, message, hint } = decodeJson(content) as { code: string; message: string; hint?: string }
  const reason = modelRefusals.find((known) => known === code) ?? 'RUN_FAILED'
  return modelRefused(
    reason,
    reason === 'LOAD_FAILED' ? `the model cannot be loaded: ${message}` : message,
    hint,
  )
}

/** @returns the error for a call to a process that has ended; another process may answer the same call */
const gone = (end: HostEnd | undefined): AppError =>
  new AppError('unavailable', end?.said ?? 'the process of the model has ended', {
    retryable: true,
    facts: { reason: end?.reason ?? 'HOST_DIED' },
  })

const toMib = (bytes: number): number => Math.round(bytes / 1024 / 1024)
