import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { caught, type ModelBench, startModelBench, until } from './bench-testing.ts'
import {
  attribute,
  initializer,
  input,
  logisticModel,
  model,
  node,
  output,
  stumpModel,
  tensor,
} from './onnx/testing.ts'
import { refusalOf } from './refusal.ts'
import { logistic, testModel } from './testing.ts'

let bench: ModelBench
beforeEach(async () => {
  bench = await startModelBench('sqlite')
})
afterEach(() => bench.close())

test('a golden row that fails at activation: the one of before still serves', async () => {
  await bench.activated(testModel({ bias: 1 }))
  const { model_id: id } = await bench.upload(testModel({ version: '2.0.0' }))
  const { manifest } = testModel({ version: '2.0.0' })
  if (manifest.golden[0]) manifest.golden[0].y += 1e-3
  await bench.database.db
    .updateTable('models')
    .set({ manifest: JSON.stringify(manifest) })
    .where('id', '=', id)
    .execute()
  expect(refusalOf(await caught(bench.models.registry.activate(id, 'ada', 'test')))).toBe('GOLDEN_MISMATCH')
  expect(await bench.ask()).toBeCloseTo(logistic(2), 6)
  expect(await bench.models.store.ledger()).toHaveLength(1)
})

test('hostile files are refused with a reason, and leave nothing behind', async () => {
  const { manifest } = testModel()
  const files: [string, Uint8Array][] = [
    ['PICKLE', new Uint8Array([0x80, 4, 0x95, 1, 2, 3])],
    ['ARCHIVE', new Uint8Array([0x50, 0x4b, 3, 4, 5, 6])],
    ['TOO_LARGE', new Uint8Array(64 * 1024 * 1024 + 1).fill(8)],
  ]
  for (const [reason, file] of files)
    expect(refusalOf(await caught(bench.upload({ file, manifest })))).toBe(reason)
  const cut = logisticModel([1, 2], 0).subarray(0, 60)
  const cutOff = testModel({ file: new Uint8Array(cut) })
  expect(refusalOf(await caught(bench.upload(cutOff)))).toBe('NOT_ONNX')
  const bomb = testModel({
    file: model([input('x', [null, 2]), node('Loop', ['x'], ['p']), output('p', [null, 1])]),
  })
  expect(refusalOf(await caught(bench.upload(bomb)))).toBe('OP_NOT_ALLOWED')
  const zip = testModel({
    file: model([input('x', [null, 2]), node('ZipMap', ['x'], ['p'], { domain: 'ai.onnx.ml' })]),
  })
  expect(refusalOf(await caught(bench.upload(zip)))).toBe('ZIPMAP')
  expect(readdirSync(join(bench.directory, 'files', 'incoming'))).toEqual([])
  const left = readdirSync(join(bench.directory, 'files'), { recursive: true, withFileTypes: true })
  expect(left.filter((entry) => entry.isFile())).toEqual([])
  const { sessions } = await bench.models.sessions.overview()
  expect(sessions.map(({ status, code }) => [status, code])).toEqual([
    ['refused', 'ZIPMAP'],
    ['refused', 'OP_NOT_ALLOWED'],
    ['refused', 'NOT_ONNX'],
    ['refused', 'TOO_LARGE'],
    ['refused', 'ARCHIVE'],
    ['refused', 'PICKLE'],
  ])
})

test('what passes the scan and grows while it runs ends its own process only', async () => {
  // Each Concat doubles the rows: 2 floats become 16 GiB.
  const doubling = Array.from({ length: 31 }, (_, i) =>
    node('Concat', [`v${i}`, `v${i}`], [`v${i + 1}`], { attributes: [attribute.int('axis', 0)] }),
  )
  const file = model([
    input('x', [null, 2]),
    node('Identity', ['x'], ['v0']),
    ...doubling,
    node('ReduceSum', ['v31'], ['s']),
    initializer(tensor('zero', [2, 1], [0, 0])),
    node('MatMul', ['x', 'zero'], ['z']),
    node('Add', ['z', 's'], ['p']),
    output('p', [null, 1]),
  ])
  const before = process.memoryUsage().rss
  const error = await caught(bench.upload(testModel({ file })))
  expect(['MEMORY_LIMIT', 'RUN_FAILED', 'TIME_LIMIT', 'HOST_DIED', 'LOAD_FAILED']).toContain(refusalOf(error))
  expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024)
  expect(await bench.upload(testModel())).toMatchObject({ created: true })
})

test('an output that is no probability, NaN, a wrong width and a wrong name are refused', async () => {
  const linear = (op: string) =>
    model([
      input('x', [null, 2]),
      initializer(tensor('w', [2, 1], [3, 3])),
      node('MatMul', ['x', 'w'], ['z']),
      node(op, ['z'], ['p']),
      output('p', [null, 1]),
    ])
  expect(refusalOf(await caught(bench.upload(testModel({ file: linear('Identity') }))))).toBe(
    'OUTPUT_OUT_OF_RANGE',
  )
  expect(refusalOf(await caught(bench.upload(testModel({ file: linear('Log') }))))).toBe('OUTPUT_NOT_FINITE')
  expect(refusalOf(await caught(bench.upload(testModel({ file: logisticModel([1, 2, 3], 0) }))))).toBe(
    'MANIFEST_MISMATCH',
  )
  const named = testModel({
    change: (it) =>
      Object.assign(it, {
        output: { name: 'probabilities', index: 1, kind: 'probability', positive_class: 1 },
      }),
  })
  expect(refusalOf(await caught(bench.upload(named)))).toBe('MANIFEST_MISMATCH')
})

test('trained until tomorrow is refused, and so is a manifest that does not fit what was said or sent', async () => {
  const tomorrow = new Date(Date.now() + 24 * 3_600_000).toISOString().slice(0, 10)
  const future = testModel({ change: (it) => Object.assign(it, { trained_until: tomorrow }) })
  expect(refusalOf(await caught(bench.upload(future)))).toBe('TRAINED_IN_FUTURE')
  const good = testModel()
  expect(await caught(bench.upload(good, { fields: { version: '9.9.9' } }))).toMatchObject({
    code: 'input_invalid',
  })
  expect(await caught(bench.upload(good, { fields: { colour: 'red' } }))).toMatchObject({
    code: 'input_invalid',
  })
  expect(await caught(bench.upload({ file: good.file }))).toMatchObject({
    code: 'input_invalid',
    message: expect.stringContaining('manifest'),
  })
  const few = { ...good.manifest, golden: good.manifest.golden.slice(1) }
  const error = await caught(bench.upload({ file: good.file, manifest: few }))
  expect(error).toMatchObject({
    code: 'input_invalid',
    errors: [{ pointer: '/manifest/golden', message: 'at least 10 golden rows' }],
  })
  const other = { file: logisticModel([1, 2], 7), manifest: good.manifest }
  expect(await caught(bench.upload(other))).toMatchObject({
    code: 'input_invalid',
    message: expect.stringContaining('SHA-256'),
  })
})

test('rows are checked before a model sees them', async () => {
  await bench.activated(testModel())
  expect(await caught(bench.models.predict(new Float32Array([1, 2, 3])))).toMatchObject({
    code: 'input_invalid',
  })
  expect(await caught(bench.models.predict(new Float32Array([1, Number.NaN])))).toMatchObject({
    code: 'input_invalid',
    message: 'row 0 has NaN for b',
  })
  expect(await caught(bench.models.predict(new Float32Array([Number.POSITIVE_INFINITY, 1])))).toMatchObject({
    code: 'input_invalid',
  })
  expect((await bench.models.predict(new Float32Array(0))).p).toHaveLength(0)
})

test('a swap under load fails no request, and every answer is of one of the two', async () => {
  const first = await bench.activated(testModel({ bias: 0 }))
  const { model_id: second } = await bench.upload(testModel({ version: '2.0.0', bias: 3 }))
  const answers: { id: string; p: number }[] = []
  let go = true
  const rows = new Float32Array(1000).fill(0)
  const clients = Array.from({ length: 8 }, async () => {
    while (go) {
      const { model: by, p } = await bench.models.predict(rows)
      answers.push({ id: by.id, p: p[499] ?? 0 })
    }
  })
  await until(() => answers.length > 50)
  await bench.models.registry.activate(second, 'ada', 'swap')
  const after = answers.length
  await until(() => answers.length > after + 50)
  go = false
  await Promise.all(clients)
  for (const { id, p } of answers) expect(p).toBeCloseTo(id === first ? 0.5 : logistic(3), 6)
  expect(new Set(answers.map(({ id }) => id))).toEqual(new Set([first, second]))
  // Those under way when it was swapped end where they began; then there is no going back.
  expect(answers.slice(after).filter(({ id }) => id === first).length).toBeLessThanOrEqual(8)
  expect(answers.slice(-20).every(({ id }) => id === second)).toBe(true)
})

test('kill -9 of the process under load: no request fails, and the second time the version is taken back', async () => {
  const first = await bench.activated(testModel({ bias: 0 }))
  const second = await bench.activated(testModel({ version: '2.0.0', bias: 3 }))
  let go = true
  let count = 0
  const by = new Set<string>()
  const clients = Array.from({ length: 4 }, async () => {
    while (go) {
      const { model: from, answeredBy } = await bench.models.predict(new Float32Array(400))
      by.add(`${from.id} as ${answeredBy}`)
      count += 1
    }
  })
  await until(() => count > 20)
  process.kill(bench.pidOf('active'), 'SIGKILL')
  await until(() => by.has(`${first} as previous`))
  expect(bench.models.serving.active?.id).toBe(second)
  await until(() => bench.models.serving.hosts().some(({ alias, ready }) => alias === 'active' && ready))
  const killed = bench.pidOf('active')
  process.kill(killed, 'SIGKILL')
  await until(() => bench.models.serving.active?.id === first)
  go = false
  await Promise.all(clients)
  const last = (await bench.models.store.ledger()).at(-1)
  expect(last).toMatchObject({
    actor: 'coordinator',
    from_id: second,
    to_id: first,
    reason: expect.stringContaining('ended 2 times'),
  })
  expect(await bench.models.store.find(second)).toMatchObject({
    state: 'RETIRED',
    state_reason: expect.stringContaining('HOST_DIED'),
  })
})

test('the only version is started again when its process is killed', async () => {
  const only = await bench.activated(testModel())
  process.kill(bench.pidOf('active'), 'SIGKILL')
  expect(await bench.ask()).toBeCloseTo(logistic(1), 6)
  expect(bench.models.serving.active?.id).toBe(only)
})

test('a version whose answers are no probabilities is taken back at once and put into quarantine', async () => {
  const first = await bench.activated(testModel())
  // Above 0.5 it says 7: no golden row does so.
  const file = stumpModel(2, 0, 5, 0.25, 7)
  const sick = testModel({
    version: '6.6.6',
    file,
    change: ({ golden }) => {
      for (const row of golden) row.y = 0.25
    },
  })
  const second = await bench.activated(sick)
  const { p, model: by } = await bench.models.predict(new Float32Array([9, 0]))
  expect(by.id).toBe(first)
  expect(p[0]).toBeCloseTo(logistic(9), 6)
  await until(() => bench.models.serving.active?.id === first)
  await until(async () => (await bench.models.store.find(second))?.state === 'QUARANTINED')
  expect((await bench.models.store.find(second))?.state_reason).toContain('OUTPUT_OUT_OF_RANGE')
  expect(await caught(bench.models.registry.activate(second, 'ada', ''))).toMatchObject({ code: 'not_ready' })
})

test('a refresh gives the active version a new process, and is remembered', async () => {
  expect(await caught(bench.models.refresh.run('manual', 'ada'))).toMatchObject({ code: 'not_ready' })
  await bench.activated(testModel())
  const before = bench.pidOf('active')
  expect(await bench.models.refresh.run('manual', 'ada')).toMatchObject({
    status: 'completed',
    detail: expect.stringContaining('10 golden rows'),
  })
  expect(bench.pidOf('active')).not.toBe(before)
  expect(await bench.ask()).toBeCloseTo(logistic(1), 6)
  expect(await bench.models.refresh.history(undefined, 10)).toHaveLength(1)
})
