import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ReadableStream } from 'node:stream/web'
import { systemClock } from '@understudy/shared/core/time'
import { type ModelManifest, manifestSchema } from '@understudy/shared/protocol/model-manifest'
import type { UploadResult } from '@understudy/shared/protocol/models'
import { pino } from 'pino'
import type { OpenDatabase } from '../storage/database.ts'
import type { Dialect } from '../storage/dialect.ts'
import { migrate } from '../storage/migrate.ts'
import { testDatabase } from '../storage/testing.ts'
import { createModels, type Models } from './models.ts'
import { logisticModel } from './onnx/testing.ts'

export const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex')

export interface TestModel {
  readonly file: Uint8Array
  readonly manifest: ModelManifest
}

export const logistic = (z: number) => 1 / (1 + Math.exp(-z))

/** p = 1 / (1 + exp(-(x0 + 2·x1 + bias))), with golden rows that are right unless `change` says otherwise. */
export function testModel(
  options: {
    readonly name?: string
    readonly version?: string
    readonly bias?: number
    readonly file?: Uint8Array
    readonly change?: (manifest: Record<string, unknown> & { golden: { x: number[]; y: number }[] }) => void
  } = {},
): TestModel {
  const bias = options.bias ?? 0
  const file = options.file ?? logisticModel([1, 2], bias)
  const feature = (name: string) => ({ name, unit: '1', nullable: false, min: -10, max: 10 })
  const golden = Array.from({ length: 10 }, (_, i) => {
    const x = [i / 4 - 1, 1 - i / 8]
    return { x, y: logistic((x[0] ?? 0) + 2 * (x[1] ?? 0) + bias) }
  })
  const manifest = {
    name: options.name ?? 'price-instability',
    version: options.version ?? '1.0.0',
    sha256: sha256(file),
    opset: 17,
    input: { name: 'x', dtype: 'float32', features: [feature('a'), feature('b')] },
    output: { name: 'p', index: 0, kind: 'probability', positive_class: 1 },
    target: { id: 'rise-3-percent-12-h', definition: 'the price rises by 3 % within 12 h', horizon_h: 12 },
    trained_until: '2020-06-30',
    coverage: { regions: ['us-east-1'], families: ['m5'] },
    decision_threshold: 0.5,
    train_metrics: {
      n: 1000,
      base_rate: 0.1,
      precision: 0.5,
      recall: 0.8,
      f1: 0.6,
      auc: 0.9,
      threshold: 0.5,
    },
    golden,
  }
  options.change?.(manifest)
  return { file, manifest: manifestSchema.parse(manifest) }
}

/** A multipart body as a browser sends it. */
export function uploadForm(
  { file, manifest }: { file: Uint8Array; manifest?: unknown },
  fields: Record<string, string> = {},
): FormData {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  form.append('file', new Blob([file as Uint8Array<ArrayBuffer>]), 'model.onnx')
  if (manifest !== undefined) form.append('manifest', new Blob([JSON.stringify(manifest)]), 'manifest.json')
  return form
}

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

export async function startModelBench(dialect: Dialect): Promise<ModelBench> {
  const database = await testDatabase(dialect)
  await migrate(database.db)
  const directory = mkdtempSync(join(tmpdir(), 'understudy-models-'))
  const log = pino({ level: process.env.TEST_LOG ?? 'silent' })

  function start() {
    const models = createModels({
      db: database.db,
      clock: systemClock,
      log,
      directory: join(directory, 'files'),
      refresh: 'off',
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

/** Waits until it holds; fails after ten seconds. */
export async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  const limit = performance.now() + 10_000
  while (!(await holds())) {
    if (performance.now() > limit) throw new Error('it did not happen within 10 s')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
