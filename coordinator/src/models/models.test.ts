import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { dialects } from '../storage/testing.ts'
import { caught, type ModelBench, startModelBench, until } from './bench-testing.ts'
import { firstBroken, pointedTo } from './ledger.ts'
import { refusalOf } from './refusal.ts'
import { logistic, testModel } from './testing.ts'

describe.each(dialects)('models on %s', (dialect) => {
  let bench: ModelBench
  beforeEach(async () => {
    bench = await startModelBench(dialect)
  })
  afterEach(() => bench.close())

  test('an upload is tried, activated and answers; the ledger says so', async () => {
    const result = await bench.upload(testModel({ bias: 0.5 }), {
      fields: { model_name: 'price-instability', version: '1.0.0', trained_until_date: '2020-06-30' },
    })
    expect(result).toMatchObject({
      created: true,
      state: 'QUALIFIED',
      status: 'inactive',
      artifact_kept: true,
    })
    expect(await caught(bench.models.predict(new Float32Array([1, 0])))).toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining('activate'),
    })
    const done = await bench.models.registry.activate(result.model_id, 'ada', 'first')
    expect(done).toMatchObject({ status: 'activated', previous_model_id: null, seq: 1 })
    const prediction = await bench.models.predict(new Float32Array([1, 0, 0, 2]))
    expect(prediction.p[0]).toBeCloseTo(logistic(1.5), 6)
    expect(prediction.p[1]).toBeCloseTo(logistic(4.5), 6)
    expect(prediction).toMatchObject({
      answeredBy: 'active',
      model: { id: result.model_id, sha256: result.sha256 },
    })
    const row = await bench.models.store.find(result.model_id)
    expect(row).toMatchObject({ state: 'ACTIVE', uploaded_by: 'ada' })
    expect(JSON.parse(row?.qualification ?? '{}')).toMatchObject({
      golden_rows: 10,
      zero_rows: 'no values',
      nan_row: 'NaN',
    })
    const again = await bench.models.registry.activate(result.model_id, 'ada', 'again')
    expect(again).toMatchObject({ status: 'unchanged', seq: null })
  })

  test('the same bytes twice are the same version; other bytes under its name are refused', async () => {
    const first = await bench.upload(testModel())
    const second = await bench.upload(testModel())
    expect(second).toMatchObject({ created: false, model_id: first.model_id })
    expect(second.session_id).not.toBe(first.session_id)
    const other = await caught(bench.upload(testModel({ bias: 1 })))
    expect(other).toMatchObject({ code: 'conflict', facts: { model_id: first.model_id } })
    const manifest = testModel({ change: (it) => Object.assign(it, { decision_threshold: 0.3 }) })
    expect(await caught(bench.upload(manifest))).toMatchObject({ code: 'conflict' })
    expect(await bench.upload(testModel({ bias: 1, version: '1.0.1' }))).toMatchObject({ created: true })
  })

  test('a golden row that is off by a thousandth: refused, and the name and version are free for another try', async () => {
    const wrong = testModel({
      change: ({ golden }) => {
        if (golden[3]) golden[3].y += 1e-3
      },
    })
    const error = await caught(bench.upload(wrong))
    expect(refusalOf(error)).toBe('GOLDEN_MISMATCH')
    expect(error.message).toContain('1 of 10')
    const [row] = await bench.models.store.list(undefined, 10)
    expect(row).toMatchObject({
      state: 'QUARANTINED',
      artifact_kept: 0,
      state_reason: expect.stringContaining('GOLDEN_MISMATCH'),
    })
    expect(await caught(bench.models.registry.activate(row?.id ?? '', 'ada', ''))).toMatchObject({
      code: 'not_ready',
    })
    expect(await bench.upload(testModel())).toMatchObject({ created: true, version: '1.0.0' })
  })

  test('a fallback is to the process that is kept warm, and waits for no other; two of them end where they began', async () => {
    const first = await bench.activated(testModel({ bias: 0 }))
    const second = await bench.activated(testModel({ version: '2.0.0', bias: 3 }))
    expect(bench.models.serving.warm?.id).toBe(first)
    const warm = bench.pidOf('previous')
    const back = await bench.models.registry.rollBack('ada', 'worse')
    expect(back).toMatchObject({ model_id: first, previous_model_id: second })
    expect([bench.pidOf('active'), back.took_ms]).toEqual([warm, expect.any(Number)])
    expect(await bench.ask()).toBeCloseTo(logistic(1), 6)
    expect((await bench.models.store.find(second))?.state).toBe('RETIRED')
    const forth = await bench.models.registry.rollBack('ada', 'it was not')
    expect(forth.model_id).toBe(second)
    expect(await bench.ask()).toBeCloseTo(logistic(4), 6)
    const ledger = await bench.models.store.ledger()
    expect(ledger.map(({ to_id: to }) => to)).toEqual([first, second, first, second])
    expect(pointedTo(ledger, 'active', ledger[2]?.at ?? 0)).toBeDefined()
  })

  test('without one of before there is nothing to fall back to', async () => {
    await bench.activated(testModel())
    expect(await caught(bench.models.registry.rollBack('ada', ''))).toMatchObject({ code: 'conflict' })
  })

  test('what is live, its fallback and what a lab uses are not deleted', async () => {
    const first = await bench.activated(testModel())
    const second = await bench.activated(testModel({ version: '2.0.0', bias: 1 }))
    const { model_id: third } = await bench.upload(testModel({ version: '3.0.0', bias: 2 }))
    await bench.models.registry.assign('lab:i-1', third, 'ada', 'a trial')
    expect((await bench.models.predictAs('lab:i-1', new Float32Array([0, 0]))).p[0]).toBeCloseTo(
      logistic(2),
      6,
    )
    expect((await bench.models.store.find(third))?.state).toBe('LAB')
    for (const [id, use] of [
      [first, 'previous'],
      [second, 'active'],
      [third, 'lab:i-1'],
    ] as const)
      expect(await caught(bench.models.registry.remove(id))).toMatchObject({
        code: 'conflict',
        facts: { used_by: [use] },
      })
    await bench.models.registry.assign('lab:i-1', null, 'ada', 'over')
    expect(await caught(bench.models.predictAs('lab:i-1', new Float32Array([0, 0])))).toMatchObject({
      code: 'not_found',
    })
    expect(await bench.models.registry.remove(third)).toMatchObject({ artifact_kept: 0, version: '3.0.0' })
    expect(await caught(bench.models.file(third, 'model'))).toMatchObject({ code: 'not_ready' })
    expect(await caught(bench.models.registry.activate(third, 'ada', ''))).toMatchObject({
      code: 'not_ready',
    })
    expect(await bench.upload(testModel({ version: '3.0.0', bias: 2 }))).toMatchObject({
      model_id: third,
      created: false,
      artifact_kept: true,
    })
    await bench.models.registry.activate(third, 'ada', 'again')
  })

  test('a restart serves what the ledger says; a damaged file is noticed and the one of before serves', async () => {
    const first = await bench.activated(testModel())
    const second = await bench.activated(testModel({ version: '2.0.0', bias: 1 }))
    await bench.restart()
    await until(() => bench.models.serving.active?.id === second)
    expect(await bench.ask()).toBeCloseTo(logistic(2), 6)
    const { model_sha256: sha } = (await bench.models.store.find(second)) ?? { model_sha256: '' }
    await bench.restart(() => {
      writeFileSync(join(bench.directory, 'files', sha.slice(0, 2), sha), 'something else')
    })
    await until(() => bench.models.serving.active?.id === first)
    expect(await bench.ask()).toBeCloseTo(logistic(1), 6)
    const row = await bench.models.store.find(second)
    expect(row).toMatchObject({
      state: 'QUARANTINED',
      state_reason: expect.stringContaining('is not what it was'),
    })
  })

  test('a line of the ledger that was changed or taken out is seen', async () => {
    await bench.activated(testModel())
    await bench.activated(testModel({ version: '2.0.0', bias: 1 }))
    await bench.models.registry.rollBack('ada', '')
    const lines = await bench.models.store.ledger()
    expect(firstBroken(lines)).toBeUndefined()
    expect(firstBroken(lines.map((line, i) => (i === 1 ? { ...line, actor: 'eve' } : line)))).toBe(2)
    expect(firstBroken(lines.filter((_, i) => i !== 1))).toBe(3)
  })

  test('sessions: live, fallback and pending, as the page of the operator shows them', async () => {
    const first = await bench.upload(testModel(), { sessionId: '00000000-0000-4000-8000-000000000001' })
    expect(await bench.models.sessions.overview()).toMatchObject({
      live: null,
      fallback: null,
      pending: { session_id: first.session_id, status: 'uploaded', file_count: 2 },
    })
    await bench.models.activateSession(first.session_id, 'ada')
    const second = await bench.upload(testModel({ version: '2.0.0', bias: 1 }))
    await bench.models.activateSession(second.session_id, 'ada')
    const third = await bench.upload(testModel({ version: '3.0.0', bias: 2 }))
    const page = await bench.models.sessions.overview()
    expect([page.live?.session_id, page.fallback?.session_id, page.pending?.session_id]).toEqual([
      second.session_id,
      first.session_id,
      third.session_id,
    ])
    await bench.models.activateSession(third.session_id, 'ada')
    const later = await bench.models.sessions.overview()
    expect(later.pending).toBeNull()
    expect(later.sessions.map(({ session_id: id }) => id)).toEqual([third.session_id, second.session_id])
    await bench.models.registry.rollBack('ada', '')
    expect((await bench.models.sessions.overview()).live?.session_id).toBe(second.session_id)
    expect((await bench.models.sessions.find(first.session_id)).status).toBe('activated')
    expect(await caught(bench.upload(testModel(), { sessionId: first.session_id }))).toMatchObject({
      code: 'conflict',
    })
  })

  test('a key is for one upload', async () => {
    await bench.upload(testModel(), { key: 'k1' })
    expect(await bench.upload(testModel(), { key: 'k1' })).toMatchObject({ created: false })
    const other = await caught(bench.upload(testModel({ version: '2.0.0', bias: 1 }), { key: 'k1' }))
    expect(other).toMatchObject({ code: 'conflict', message: expect.stringContaining('Idempotency-Key') })
  })

  test('the views of the ML server show the same versions', async () => {
    await bench.activated(testModel())
    for (const view of ['ml_models', 'model_registry']) {
      const rows = await bench.database.db
        .withTables<Record<string, { name: string; status: string }>>()
        .selectFrom(view)
        .select(['name', 'status'])
        .execute()
      expect(rows).toEqual([{ name: 'price-instability', status: 'active' }])
    }
  })
})
