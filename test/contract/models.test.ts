import { afterEach, beforeEach, expect, test } from 'vitest'
import { sha256, testModel, uploadForm } from '../../coordinator/src/models/testing.ts'
import { type Answer, type Bench, startBench, until } from './bench.ts'

let bench: Bench
beforeEach(async () => {
  bench = await startBench()
})
afterEach(() => bench.close())

const SESSION = '00000000-0000-4000-8000-000000000007'
const UPLOAD = '/api/v1/ml/models/upload'

/** Sends a multipart body as a browser does. */
async function send(
  path: string,
  body: FormData | ReadableStream | string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${bench.url}${path}`, {
    method: 'POST',
    body,
    headers: { authorization: `Bearer ${bench.adminToken}`, ...headers },
    ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
  } as RequestInit)
  return {
    status: response.status,
    type: response.headers.get('content-type') ?? '',
    body: await response.json(),
  }
}
const tokenOf = async (role: 'viewer' | 'operator') => {
  const { createTokens } = await import('../../coordinator/src/http/tokens.ts')
  const { systemClock } = await import('../../shared/src/core/time.ts')
  return createTokens(bench.db, systemClock).createOperator(role, role, undefined)
}
const as = (token: string) => ({ authorization: `Bearer ${token}` })

test('the life of a model over HTTP, by the calls of the seeds', async () => {
  const first = await send(
    UPLOAD,
    uploadForm(testModel(), {
      model_name: 'price-instability',
      version: '1.0.0',
      trained_until_date: '2020-06-30',
    }),
  )
  expect(first).toMatchObject({
    status: 201,
    body: { name: 'price-instability', created: true, status: 'inactive' },
  })
  const second = await send(UPLOAD, uploadForm(testModel({ version: '2.0.0', bias: 1 })))
  const { body: list } = await bench.call('GET', '/api/v1/ml/models/list')
  expect(list.items.map((item: { version: string }) => item.version)).toEqual(['2.0.0', '1.0.0'])
  expect(list.items[1]).toMatchObject({
    trained_until: '2020-06-30',
    uploaded_at: expect.stringMatching(/Z$/),
    uploaded_by: 'test',
  })

  const activate = '/api/v1/ml/models/activate'
  expect(await bench.call('POST', activate, { model_id: first.body.model_id })).toMatchObject({
    status: 200,
    body: { status: 'activated' },
  })
  const byName = await bench.call('POST', activate, { model_id: 'price-instability', version: '2.0.0' })
  expect(byName).toMatchObject({
    status: 200,
    body: { model_id: second.body.model_id, previous_model_id: first.body.model_id },
  })
  expect((await bench.call('POST', activate, { model_id: 'price-instability' })).status).toBe(400)
  expect((await bench.call('POST', activate, { model_id: 'nobody' })).status).toBe(404)

  const details = await bench.call('GET', `/api/v1/ml/models/${second.body.model_id}/details`)
  expect(details.body).toMatchObject({
    state: 'ACTIVE',
    manifest: { version: '2.0.0' },
    qualification: { golden_rows: 10 },
    facts: { nodes: 2 },
    activations: [{ seq: 2, alias: 'active' }],
  })
  const ledger = await bench.call('GET', '/api/v1/ml/models/activations')
  expect(ledger.body).toMatchObject({ intact: true, next: null, items: [{ seq: 2 }, { seq: 1 }] })

  const download = await fetch(`${bench.url}/api/v1/ml/models/${first.body.model_id}/download`, {
    headers: as(bench.adminToken),
  })
  expect(download.headers.get('content-disposition')).toBe(
    'attachment; filename="price-instability-1.0.0.onnx"',
  )
  expect(sha256(new Uint8Array(await download.arrayBuffer()))).toBe(first.body.sha256)

  const refused = await bench.call('DELETE', `/api/v1/ml/models/${second.body.model_id}`)
  expect(refused).toMatchObject({ status: 409, body: { code: 'conflict', facts: { used_by: ['active'] } } })
  expect((await bench.call('POST', '/api/v1/ml/models/refresh')).body).toMatchObject({
    status: 'completed',
    trigger: 'manual',
  })
  expect((await bench.call('GET', '/api/v1/ml/models/refresh/history')).body.items).toHaveLength(1)
  const gaps = '/api/v1/ml/gap-filler'
  const scope = { instance_types: ['m5.large'], regions: ['us-east-1'] }
  expect(await bench.call('POST', `${gaps}/analyze`, scope)).toMatchObject({
    status: 200,
    body: {
      model_id: second.body.model_id,
      trained_until: '2020-06-30',
      required_data_types: ['spot_prices'],
      readiness: 'MISSING',
      percent_covered: 0,
      items: [{ instance_type: 'm5.large', region: 'us-east-1', pools: 0, offered: true }],
    },
  })
  expect((await bench.call('POST', `${gaps}/fill`, scope)).body).toMatchObject({ code: 'not_supported' })
  expect((await bench.call('POST', `${gaps}/fill`, { regions: [] })).status).toBe(400)
  const task = `${gaps}/status/gap-fill-00000000-0000-4000-8000-000000000001`
  expect((await bench.call('GET', task)).status).toBe(404)
  expect((await bench.call('DELETE', task)).status).toBe(404)
  expect((await bench.call('GET', `${gaps}/history`)).body).toEqual({ items: [], next: null })
  expect(list.items[0].data).toMatchObject({ readiness: 'UNKNOWN', trained_until: '2020-06-30' })
  const audit = await bench.db
    .selectFrom('audit_log')
    .select(['actor', 'action'])
    .where('action', 'like', 'model.%')
    .execute()
  expect(audit.map(({ action }) => action)).toEqual([
    'model.upload',
    'model.upload',
    'model.activate',
    'model.activate',
    'model.refresh',
  ])
})

test('the page of the operator: upload, watch, activate, fall back', async () => {
  const upload = await send(`/api/admin/ml-models/upload?session_id=${SESSION}`, uploadForm(testModel()))
  expect(upload).toMatchObject({ status: 201, body: { session_id: SESSION } })
  const session = await bench.call('GET', `/api/admin/ml-models/sessions/${SESSION}`)
  expect(session.body).toMatchObject({
    status: 'uploaded',
    percent_complete: 100,
    file_names: ['model.onnx', 'manifest.json'],
    sha256: upload.body.sha256,
  })
  expect(await bench.call('POST', '/api/admin/ml-models/activate', { sessionId: SESSION })).toMatchObject({
    status: 200,
  })
  const next = await send('/api/admin/ml-models/upload', uploadForm(testModel({ version: '2.0.0', bias: 1 })))
  await bench.call('POST', '/api/admin/ml-models/activate', { sessionId: next.body.session_id })
  const back = await bench.call('POST', '/api/admin/ml-models/fallback')
  expect(back).toMatchObject({ status: 200, body: { model_id: upload.body.model_id } })
  const { body } = await bench.call('GET', '/api/admin/ml-models/sessions')
  expect(body).toMatchObject({
    live: { session_id: SESSION, is_live: true },
    fallback: { session_id: next.body.session_id },
  })
})

test('a pickle is refused with how to convert it, whatever it is called', async () => {
  const form = new FormData()
  form.append('file', new Blob([new Uint8Array([0x80, 4, 0x95, 0, 0])]), 'xgboost_model.onnx')
  const answer = await send('/api/admin/ml-models/upload', form)
  expect(answer).toMatchObject({
    status: 422,
    type: 'application/problem+json',
    body: { code: 'model_refused', facts: { reason: 'PICKLE' } },
  })
  expect(answer.body.hint).toContain('skl2onnx')
})

test('roles: a viewer looks, an operator changes, an admin deletes; nobody else gets in', async () => {
  const viewer = as(await tokenOf('viewer'))
  const operator = as(await tokenOf('operator'))
  expect((await send(UPLOAD, uploadForm(testModel()), { authorization: '' })).status).toBe(401)
  expect((await send(UPLOAD, uploadForm(testModel()), viewer)).status).toBe(403)
  const { status, body } = await send(UPLOAD, uploadForm(testModel()), operator)
  expect(status).toBe(201)
  expect((await bench.call('GET', '/api/v1/ml/models/list', undefined, viewer)).status).toBe(200)
  const path = `/api/v1/ml/models/${body.model_id}`
  expect((await bench.call('GET', `${path}/download`, undefined, viewer)).status).toBe(403)
  expect(
    (await bench.call('POST', '/api/v1/ml/models/activate', { model_id: body.model_id }, viewer)).status,
  ).toBe(403)
  expect((await bench.call('DELETE', path, undefined, operator)).status).toBe(403)
  expect((await bench.call('POST', '/api/v1/ml/gap-filler/fill', {}, viewer)).status).toBe(403)
  const task = '/api/v1/ml/gap-filler/status/gap-fill-00000000-0000-4000-8000-000000000001'
  expect((await bench.call('DELETE', task, undefined, viewer)).status).toBe(403)
  expect((await bench.call('GET', task, undefined, viewer)).status).toBe(404)
  expect((await bench.call('DELETE', path)).body).toMatchObject({ artifact_kept: false })
})

test('an upload of more than the limit, said or not, is refused; other calls keep theirs', async () => {
  const big = new Uint8Array(70 * 1024 * 1024).fill(8)
  const form = new FormData()
  form.append('file', new Blob([big]), 'model.onnx')
  const answer = await send(UPLOAD, form)
  expect(answer).toMatchObject({ status: 422, body: { facts: { reason: 'TOO_LARGE' } } })
  const endless = new ReadableStream({
    start(controller) {
      controller.enqueue(Buffer.from('--b\r\ncontent-disposition: form-data; name="x"\r\n\r\n'))
    },
    pull(controller) {
      controller.enqueue(new Uint8Array(1024 * 1024).fill(97))
    },
  })
  const cut = await send(UPLOAD, endless, { 'content-type': 'multipart/form-data; boundary=b' }).catch(
    (error: unknown) => ({ error }),
  )
  if (!('error' in cut)) expect(cut.status).toBe(413)
  // The answer comes before the body has gone, and may be lost with the connection that it ends.
  const statuses: (number | undefined)[] = []
  await until(async () => {
    const elsewhere = await send('/api/v1/ml/models/activate', form).catch(() => undefined)
    statuses.push(elsewhere?.status)
    return elsewhere !== undefined
  })
  expect(statuses.at(-1)).toBe(413)
  await until(async () =>
    (await bench.call('GET', '/api/admin/ml-models/sessions')).body.sessions.every(
      (it: { status: string }) => it.status === 'refused',
    ),
  )
})

test('a body that is cut off, is no multipart, or has no file', async () => {
  const half = `--b\r\ncontent-disposition: form-data; name="file"; filename="m.onnx"\r\n\r\n\u0008\u0008`
  const cut = await send(UPLOAD, half, { 'content-type': 'multipart/form-data; boundary=b' })
  expect(cut).toMatchObject({ status: 400, body: { code: 'input_invalid' } })
  expect(await send(UPLOAD, '{}', { 'content-type': 'application/json' })).toMatchObject({
    status: 400,
    body: { code: 'input_invalid' },
  })
  const { manifest } = testModel()
  const form = new FormData()
  form.append('manifest', JSON.stringify(manifest))
  const none = await send(UPLOAD, form)
  expect(none).toMatchObject({ status: 400, body: { detail: expect.stringContaining('no model file') } })
  const odd = await send(`${UPLOAD}?session_id=7`, uploadForm(testModel()))
  expect(odd).toMatchObject({ status: 400, body: { errors: [{ pointer: '/session_id' }] } })
})

test('OpenAPI has every call', async () => {
  const { body } = await bench.call('GET', '/openapi.json')
  for (const path of [
    'upload',
    'list',
    'activate',
    '{id}/details',
    '{id}',
    '{id}/download',
    'refresh',
    'refresh/history',
  ])
    expect(Object.keys(body.paths)).toContain(`/api/v1/ml/models/${path}`)
  for (const path of ['upload', 'activate', 'fallback', 'sessions'])
    expect(Object.keys(body.paths)).toContain(`/api/admin/ml-models/${path}`)
  for (const path of ['analyze', 'fill', 'status/{task_id}', 'history'])
    expect(Object.keys(body.paths)).toContain(`/api/v1/ml/gap-filler/${path}`)
  expect(Object.keys(body.components.schemas)).toContain('ModelUploadForm')
})
