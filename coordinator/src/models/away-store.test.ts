import { AppError } from '@understudy/shared/core/app-error'
import { afterEach, expect, test } from 'vitest'
import type { Bucket } from '../cloud/bucket.ts'
import { caught, type ModelBench, startModelBench, until } from './bench-testing.ts'
import { logistic, testModel } from './testing.ts'

let bench: ModelBench | undefined
afterEach(async () => {
  await bench?.close()
  bench = undefined
})

/** A bucket in memory that can go away, or hang as a connection does whose other end has gone. */
function testBucket() {
  const objects = new Map<string, Uint8Array>()
  const state = { is: 'there' as 'there' | 'away' | 'hanging', asked: 0 }
  const reach = (signal: AbortSignal | undefined): Promise<void> => {
    state.asked += 1
    if (state.is === 'there') return Promise.resolve()
    const away = new AppError('unavailable', 's3://models did not answer', { retryable: true })
    if (state.is === 'away' || signal?.aborted) return Promise.reject(away)
    return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(away)))
  }
  const bucket: Bucket = {
    name: 's3://models',
    async put(key, content, { replace, signal } = {}) {
      await reach(signal)
      if (objects.has(key) && !replace) return false
      objects.set(key, content)
      return true
    },
    async get(key, _, signal) {
      await reach(signal)
      return objects.get(key)
    },
    async remove(key, signal) {
      await reach(signal)
      objects.delete(key)
    },
  }
  return { bucket, state, objects }
}

test('an upload while the store is away says so and leaves nothing; the same upload is taken later', async () => {
  const { bucket, state, objects } = testBucket()
  bench = await startModelBench('sqlite', { bucket })
  state.is = 'away'
  const sessionId = '00000000-0000-4000-8000-000000000001'
  const error = await caught(bench.upload(testModel({ bias: 1 }), { sessionId }))
  expect(error).toMatchObject({
    ...{ code: 'unavailable', retryable: true },
    message: expect.stringContaining('s3://models did not answer'),
    hint: expect.stringContaining('again'),
  })
  expect(await bench.models.store.list(undefined, 10)).toEqual([])
  expect(await bench.models.sessions.find(sessionId)).toMatchObject({ status: 'failed', code: 'unavailable' })
  state.is = 'there'
  const taken = await bench.upload(testModel({ bias: 1 }))
  expect(taken).toMatchObject({ created: true, state: 'QUALIFIED' })
  await bench.models.registry.activate(taken.model_id, 'ada', 'test')
  expect(await bench.ask()).toBeCloseTo(logistic(2), 6)
  expect(objects.size).toBe(1)
})

test('what was refused before stays refused when the store is away at the next try', async () => {
  const { bucket, state, objects } = testBucket()
  bench = await startModelBench('sqlite', { bucket })
  const wrong = testModel({
    change: ({ golden }) => {
      if (golden[0]) golden[0].y = 0.123
    },
  })
  await caught(bench.upload(wrong))
  const [refused] = await bench.models.store.list(undefined, 10)
  expect(refused?.state_reason).toContain('GOLDEN_MISMATCH')
  expect(objects.size).toBe(0)
  state.is = 'away'
  expect(await caught(bench.upload(wrong))).toMatchObject({ code: 'unavailable' })
  expect(await bench.models.store.list(undefined, 10)).toEqual([refused])
})

test('a coordinator ends though the store hangs: under an upload, an activation and the start of a process', async () => {
  const { bucket, state } = testBucket()
  bench = await startModelBench('sqlite', { bucket, activeVersion: 'v2' })
  await bench.activated(testModel())
  const { model_id: second } = await bench.upload(testModel({ version: '2.0.0', bias: 1 }))
  state.is = 'hanging'
  const before = state.asked
  await bench.restart()
  // One for the active version, one for MODEL_ACTIVE_VERSION.
  await until(() => state.asked === before + 2)
  const calls = [
    caught(bench.upload(testModel({ version: '3.0.0', bias: 2 }))),
    caught(bench.models.file(second, 'model')),
  ]
  await until(() => state.asked === before + 4)
  const start = performance.now()
  await bench.restart(() => {
    state.is = 'there'
  })
  expect(performance.now() - start).toBeLessThan(20_000)
  for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: 'unavailable' })
  await until(() => bench?.models.serving.active?.id === second)
})
