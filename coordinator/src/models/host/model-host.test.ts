import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { millis, systemClock } from '@understudy/shared/core/time'
import { afterEach, expect, test } from 'vitest'
import {
  block,
  bytes,
  initializer,
  input,
  int,
  logisticModel,
  model,
  node,
  opset,
  output,
  stumpModel,
  tensor,
  text,
  varint,
} from '../onnx/testing.ts'
import { refusalOf } from '../refusal.ts'
import { type HostLimits, qualificationLimits } from './limits.ts'
import { type ModelHost, startHost } from './model-host.ts'

const hosts: ModelHost[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.close()
})

function start(limits: Partial<HostLimits> = {}): ModelHost {
  const host = startHost({ limits: { ...qualificationLimits, ...limits }, clock: systemClock })
  hosts.push(host)
  return host
}

const request = { input: 'x', dtype: 'float32', output: 'p', index: 0, scaler: null } as const

async function loaded(file: Uint8Array, limits: Partial<HostLimits> = {}): Promise<ModelHost> {
  const host = start(limits)
  await host.load(request, file, undefined)
  return host
}

const batch = (numbers: readonly number[] | number, rows: number, width?: number) => {
  const values = new Float32Array(typeof numbers === 'number' ? new Array(numbers).fill(0) : numbers)
  return { rows, width: width ?? values.length / rows, values }
}

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z))

test('a logistic model answers a batch as its formula says', async () => {
  const host = await loaded(logisticModel([1, -2], 0.5))
  const { values } = await host.run(batch([1, 2, 3, 4, 0, 0], 3))
  const expected = [1 - 4 + 0.5, 3 - 8 + 0.5, 0.5].map(sigmoid)
  for (const [i, p] of expected.entries()) expect(values[i]).toBeCloseTo(p, 6)
})

test('a tree answers on both sides of its threshold', async () => {
  const host = await loaded(stumpModel(3, 1, 0.5, 0.125, 0.875))
  const { values } = await host.run(batch([9, 0.4, 9, 9, 0.6, 9], 2))
  expect([...values]).toEqual([0.125, 0.875])
})

test('a scaler runs before the model', async () => {
  const host = start()
  const scaler = model([
    input('raw', [null, 1]),
    initializer(tensor('ten', [1], [10])),
    node('Mul', ['raw', 'ten'], ['scaled']),
    output('scaled', [null, 1]),
  ])
  await host.load({ ...request, scaler: { input: 'raw', output: 'scaled' } }, logisticModel([1], 0), scaler)
  const { values } = await host.run(batch([0.2], 1))
  expect(values[0]).toBeCloseTo(sigmoid(2), 6)
})

test('it has no environment, an empty directory, and nothing open but its own', async () => {
  const host = await loaded(logisticModel([1], 0))
  expect(readFileSync(`/proc/${host.pid}/environ`, 'utf8')).not.toMatch(/HOME=|TOKEN|AWS/)
  expect(
    readFileSync(`/proc/${host.pid}/environ`, 'utf8')
      .split('\0')
      .filter((line) => !/^(PWD=|$)/.test(line)),
  ).toEqual([])
  const directory = readlinkSync(`/proc/${host.pid}/cwd`)
  expect(readdirSync(directory)).toEqual([])
  const limits = readFileSync(`/proc/${host.pid}/limits`, 'utf8')
  expect(limits).toMatch(new RegExp(`Max address space +${qualificationLimits.addressKib * 1024} `))
  expect(limits).toMatch(/Max core file size +0 /)
  await host.close()
  expect(existsSync(directory)).toBe(false)
})

test('a wrong width, no rows and NaN are answered, and it goes on', async () => {
  const host = await loaded(logisticModel([1, 2], 0))
  const wrong = await host.run(batch([1, 2, 3], 1)).catch((error: unknown) => error)
  expect(refusalOf(wrong)).toBe('RUN_FAILED')
  expect((await host.run(batch(0, 0, 2))).values).toHaveLength(0)
  const { values } = await host.run(batch([Number.NaN, 1], 1))
  expect(values[0]).toBeNaN()
})

test('what is no model at all is a clear refusal', async () => {
  const host = start()
  const refused = await host
    .load(request, new Uint8Array(50).fill(7), undefined)
    .catch((error: unknown) => error)
  expect(refusalOf(refused)).toBe('LOAD_FAILED')
  expect(await host.scan(logisticModel([1], 0))).toMatchObject({ nodes: 2 })
  const scanned = await host.scan(new Uint8Array([0x80, 4, 1, 2])).catch((error: unknown) => error)
  expect(refusalOf(scanned)).toBe('PICKLE')
  expect((scanned as { hint: string }).hint).toContain('skl2onnx')
})

test('an output that is missing, or a column that is not there', async () => {
  const host = start()
  await host.load({ ...request, index: 3 }, logisticModel([1], 0), undefined)
  const refused = await host.run(batch([1], 1)).catch((error: unknown) => error)
  expect(refusalOf(refused)).toBe('OUTPUT_SHAPE')
})

/** Never let through by the scan: this is what the process would do if one slipped by. */
const allocatorBomb = (floats: number) => {
  const shape = bytes(int(1, 1), int(2, 7), text(8, 's'), block(7, varint(floats)))
  return model([
    input('x', [null, 1]),
    initializer(shape),
    node('ConstantOfShape', ['s'], ['big']),
    node('ReduceSum', ['big'], ['sum']),
    node('Add', ['x', 'sum'], ['p']),
    output('p', [null, 1]),
  ])
}

test('a model of 163 bytes that asks for 4.6 GB gets an error or a SIGKILL; the coordinator goes on', async () => {
  const host = start()
  const before = process.memoryUsage().rss
  const failed = await host
    .load(request, allocatorBomb(1_200_000_000), undefined)
    .then(() => host.run(batch([1], 1)))
    .catch((error: unknown) => error)
  expect(failed).toBeInstanceOf(Error)
  const reason = refusalOf(failed) ?? (failed as { facts?: { reason: string } }).facts?.reason
  expect(['MEMORY_LIMIT', 'LOAD_FAILED', 'RUN_FAILED', 'HOST_DIED']).toContain(reason)
  expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024)
})

test('memory in use is watched beside the limit of the system', async () => {
  const host = start({ rssBytes: 20 * 1024 * 1024 })
  expect(await host.ended).toMatchObject({ reason: 'MEMORY_LIMIT', said: expect.stringContaining('20') })
  const refused = await host.run(batch([1], 1)).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'unavailable', facts: { reason: 'MEMORY_LIMIT' } })
})

/** An infinite Loop: its condition stays true. */
function infiniteLoop(): Uint8Array {
  const bool = (name: string) => bytes(int(2, 9), text(8, name), block(9, new Uint8Array([1])))
  const trips = bytes(
    int(2, 7),
    text(8, 'trips'),
    block(9, new Uint8Array(new BigInt64Array([2n ** 62n]).buffer)),
  )
  const body = bytes(
    node('Identity', ['cond_in'], ['cond_out']),
    node('Identity', ['carried_in'], ['carried_out']),
    text(2, 'body'),
    block(11, bytes(text(1, 'i'), block(2, block(1, bytes(int(1, 7), block(2, new Uint8Array(0))))))),
    block(11, bytes(text(1, 'cond_in'), block(2, block(1, bytes(int(1, 9), block(2, new Uint8Array(0))))))),
    input('carried_in', [null, 1]),
    block(12, bytes(text(1, 'cond_out'), block(2, block(1, bytes(int(1, 9), block(2, new Uint8Array(0))))))),
    output('carried_out', [null, 1]),
  )
  const attribute = block(5, bytes(text(1, 'body'), block(6, body), int(20, 5)))
  return model(
    [
      input('x', [null, 1]),
      initializer(trips),
      initializer(bool('cond')),
      node('Loop', ['trips', 'cond', 'x'], ['p'], { attributes: [attribute] }),
      output('p', [null, 1]),
    ],
    [opset(16)],
  )
}

test('a model that never ends is ended by SIGKILL at its limit', async () => {
  const host = await loaded(infiniteLoop(), { call: millis(300) })
  const start = performance.now()
  const failed = await host.run(batch([1], 1)).catch((error: unknown) => error)
  const took = performance.now() - start
  expect(failed).toMatchObject({ code: 'unavailable', facts: { reason: 'TIME_LIMIT' } })
  expect(took).toBeGreaterThan(290)
  expect(took).toBeLessThan(20_000)
  await host.ended
  expect(existsSync(`/proc/${host.pid}/exe`)).toBe(false)
})

test('kill -9 from outside: every call that waits is told, none hangs', async () => {
  const host = await loaded(logisticModel([1], 0))
  const calls = Array.from({ length: 20 }, () => host.run(batch(5000, 5000)).catch((error: unknown) => error))
  process.kill(host.pid, 'SIGKILL')
  const answers = await Promise.all(calls)
  expect(answers.some((answer) => answer instanceof Error)).toBe(true)
  for (const answer of answers)
    if (answer instanceof Error)
      expect(answer).toMatchObject({ code: 'unavailable', facts: { reason: 'HOST_DIED' } })
  expect(await host.ended).toMatchObject({ reason: 'HOST_DIED', said: expect.stringContaining('SIGKILL') })
})
