import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import { minutes } from '@understudy/shared/core/time'
import type { ModelManifest } from '@understudy/shared/protocol/model-manifest'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import type { ModelRow } from '../storage/database.ts'
import { type ModelBench, startModelBench, until } from './bench-testing.ts'
import { findDefaultModel, firstModel, takeDefaultModel } from './default-model.ts'
import { testModel } from './testing.ts'

const folder = findDefaultModel() ?? ''
const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as ModelManifest
const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function started(...given: Parameters<typeof startModelBench>): Promise<ModelBench> {
  const bench = await startModelBench(...given)
  cleanups.push(() => bench.close())
  return bench
}

test('a coordinator without a model takes in the one that comes with it; a damaged one is refused, and a whole one taken next time', async () => {
  const copy = mkdtempSync(join(tmpdir(), 'understudy-default-'))
  cleanups.push(() => rmSync(copy, { recursive: true }))
  cpSync(folder, copy, { recursive: true })
  const file = readFileSync(join(folder, 'model.onnx'))
  writeFileSync(join(copy, 'model.onnx'), file.subarray(0, -100))
  const bench = await started('sqlite', { defaultModel: copy })
  await until(async () => (await bench.models.sessions.overview()).sessions[0]?.status === 'refused')
  expect(bench.models.serving.active).toBeUndefined()

  await bench.restart(() => writeFileSync(join(copy, 'model.onnx'), file))
  await until(() => bench.models.serving.active !== undefined)
  const [row, ...others] = await bench.models.store.list(undefined, 10)
  expect(others).toEqual([])
  expect(row).toMatchObject({
    name: 'price-instability',
    version: '1.0.0',
    state: 'ACTIVE',
    model_sha256: manifest.sha256,
    uploaded_by: 'coordinator',
  })
  const [golden] = manifest.golden
  const { p } = await bench.models.predict(Float32Array.from(golden?.x ?? [], (value) => value ?? Number.NaN))
  expect(Math.abs((p[0] ?? 2) - (golden?.y ?? 0))).toBeLessThanOrEqual(1e-4)
  expect(await bench.models.store.ledger()).toMatchObject([
    { actor: 'coordinator', alias: 'active', to_id: row?.id },
  ])
})

test('RISK_MODEL_PATH goes before the model that comes with the coordinator, and must name one', () => {
  expect(firstModel({ default_model: true })).toBe(folder)
  expect(firstModel({ default_model: false })).toBeUndefined()
  const own = mkdtempSync(join(tmpdir(), 'understudy-own-model-'))
  cleanups.push(() => rmSync(own, { recursive: true }))
  const config = { default_model: false, risk_model_path: own }
  expect(() => firstModel(config)).toThrow('there is no model.onnx and no manifest.json')
  cpSync(folder, own, { recursive: true })
  expect(firstModel(config)).toBe(own)
})

test('it is left alone where somebody has brought a model, or where it counted once; what goes wrong is no error', async () => {
  const time = createVirtualTime()
  const row = (uploaded_by: string, activated_at: number | null) =>
    ({ uploaded_by, activated_at }) as unknown as ModelRow
  const take = async (rows: ModelRow[], upload = async () => ({ model_id: 'model-1' })) => {
    const activated: string[] = []
    const taken = await takeDefaultModel(
      folder,
      { list: async () => rows, upload, activate: async (id) => void activated.push(id) },
      { log: pino({ level: 'silent' }), clock: time.clock, signal: new AbortController().signal },
    )
    return { taken, activated }
  }
  expect(await take([row('ada', null)])).toEqual({ taken: false, activated: [] })
  expect(await take([row('coordinator', 5)])).toEqual({ taken: false, activated: [] })
  expect(await take([row('coordinator', null)])).toEqual({ taken: true, activated: ['model-1'] })
  const broken = () => Promise.reject(new Error('no space left'))
  expect(await take([], broken)).toEqual({ taken: false, activated: [] })
})

test('while the bucket does not answer it is tried again, until somebody else has brought a model', async () => {
  const time = createVirtualTime()
  const away = new AppError('unavailable', 's3://models did not answer', { retryable: true })
  let tries = 0
  const rows: ModelRow[] = []
  const stop = new AbortController()
  const start = (signal: AbortSignal) =>
    takeDefaultModel(
      folder,
      {
        list: async () => rows,
        upload() {
          tries += 1
          return tries % 3 === 0 ? Promise.resolve({ model_id: 'm' }) : Promise.reject(away)
        },
        activate: () => Promise.resolve(),
      },
      { log: pino({ level: 'silent' }), clock: time.clock, signal },
    )
  const pass = async (count: number) => {
    await until(() => tries === count && time.pending() > 0)
    await time.advance(minutes(10))
  }
  const taken = start(stop.signal)
  await pass(1)
  await pass(2)
  expect(await taken).toBe(true)
  const other = start(stop.signal)
  await until(() => tries === 4 && time.pending() > 0)
  rows.push({ uploaded_by: 'ada', activated_at: null } as unknown as ModelRow)
  await time.advance(minutes(10))
  expect(await other).toBe(false)
  rows.length = 0
  const ended = start(stop.signal)
  await until(() => tries === 5 && time.pending() > 0)
  stop.abort()
  expect(await ended).toBe(false)
})

test('MODEL_ACTIVE_VERSION is activated at each start, whatever was active before', async () => {
  const bench = await started('sqlite', { activeVersion: 'v1' })
  const { model_id: id } = await bench.upload(testModel({ version: '1.0.0' }))
  expect(bench.models.serving.active).toBeUndefined()
  await bench.restart()
  await until(() => bench.models.serving.active?.id === id)
  expect((await bench.models.store.ledger()).at(-1)).toMatchObject({
    actor: 'coordinator',
    reason: 'MODEL_ACTIVE_VERSION is v1',
  })
})
