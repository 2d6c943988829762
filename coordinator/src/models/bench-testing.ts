import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReadableStream } from 'node:stream/web'
import { systemClock } from '@understudy/shared/core/time'
import type { UploadResult } from '@understudy/shared/protocol/models'
import { pino } from 'pino'
import type { OpenDatabase } from '../storage/database.ts'
import type { Dialect } from '../storage/dialect.ts'
import { testDatabase } from '../storage/testing.ts'
import { createModels, type Models, type ModelsPorts } from './models.ts'
import { type TestModel, uploadForm } from './testing.ts'

/** Models with a database and a directory of their own, running. */
export interface ModelBench {
  readonly models: Models
  readonly database: OpenDatabase
  readonly directory: string
  /** As after a restart of the coordinator. */
  restart(whileDown?: () => Promise<void> | void): Promise<void>
  upload(
    of: { readonly file: Uint8Array; readonly manifest?: unknown },
    options?: {
      readonly fields?: Record<string, string>
      readonly key?: string
      readonly sessionId?: string
    },
  ): Promise<UploadResult>
  /** Uploads and activates it; returns its id. */
  activated(of: TestModel): Promise<string>
  /** p of the row [1, 0]. */
  ask(): Promise<number | undefined>
  pidOf(alias: string): number
  close(): Promise<void>
}

export async function startModelBench(
  dialect: Dialect,
  more: Partial<ModelsPorts> = {},
): Promise<ModelBench> {
  const database = await testDatabase(dialect)
  const directory = mkdtempSync(join(tmpdir(), 'understudy-models-'))
  const log = pino({ level: process.env.TEST_LOG ?? 'silent' })

  function start() {
    const models = createModels({
      db: database.db,
      clock: systemClock,
      log,
      directory: join(directory, 'files'),
      refresh: 'off',
      ...more,
    })
    const stop = new AbortController()
    return { models, stop, running: models.run(stop.signal) }
  }
  let current = start()
  async function end() {
    current.stop.abort()
    await current.running
  }

  const bench: ModelBench = {
    get models() {
      return current.models
    },
    database,
    directory,
    async restart(whileDown) {
      await end()
      await whileDown?.()
      current = start()
    },
    upload(of, options = {}) {
      const request = new Request('http://x', { method: 'POST', body: uploadForm(of, options.fields) })
      return current.models.upload({
        actor: 'ada',
        sessionId: options.sessionId,
        total: null,
        key: options.key ?? null,
        contentType: request.headers.get('content-type') ?? '',
        body: request.body as ReadableStream<Uint8Array>,
      })
    },
    async activated(of) {
      const { model_id: id } = await bench.upload(of)
      await current.models.registry.activate(id, 'ada', 'test')
      return id
    },
    ask: async () => (await current.models.predict(new Float32Array([1, 0]))).p[0],
    pidOf: (alias) => current.models.serving.hosts().find((host) => host.alias === alias)?.pid ?? 0,
    async close() {
      await end()
      await database.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
  return bench
}

export type Caught = Error & { code?: string; hint?: string; facts?: Record<string, unknown> }

/** What it rejects with. */
export const caught = (promise: Promise<unknown>): Promise<Caught> =>
  promise.then(
    () => {
      throw new Error('it went through')
    },
    (error: Caught) => error,
  )

/** Longer than anything takes where many tests share two processors; what hangs ends here. */
const PATIENCE = 30_000

/** Waits until it holds. */
export async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  const limit = performance.now() + PATIENCE
  while (!(await holds())) {
    if (performance.now() > limit) throw new Error(`it did not happen within ${PATIENCE / 1000} s: ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
