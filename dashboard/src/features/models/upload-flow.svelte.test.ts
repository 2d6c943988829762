import type { UploadResult } from '@understudy/shared/protocol/models'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { describe, expect, it } from 'vitest'
import { newUuid, sendForm, type UploadRequest } from '../../api/upload.ts'
import { UploadFlow } from './upload-flow.svelte.ts'

/** As much of a request as the flow sees, answered by hand. */
function fakeRequest() {
  const asked: { method?: string; path?: string; headers: Record<string, string>; form?: FormData } = {
    headers: {},
  }
  const request = {
    status: 0,
    responseText: '',
    upload: {},
    open: (method: string, path: string) => Object.assign(asked, { method, path }),
    setRequestHeader: (name: string, value: string) => {
      asked.headers[name] = value
    },
    send: (form: FormData) => {
      asked.form = form
    },
    abort: () => request.onabort?.(),
  } as unknown as UploadRequest & { status: number; responseText: string; onload(): void; onabort(): void }
  return {
    request,
    asked,
    progress: (loaded: number, total: number) =>
      request.upload.onprogress?.call({} as XMLHttpRequest, { loaded, total } as ProgressEvent),
    sent: () => request.upload.onload?.call({} as XMLHttpRequest, {} as ProgressEvent),
    answer(status: number, body: unknown) {
      request.status = status
      request.responseText = JSON.stringify(body)
      request.onload()
    },
    lose: () => request.onerror?.call({} as XMLHttpRequest, {} as ProgressEvent),
  }
}

function flow() {
  const fake = fakeRequest()
  const time = createVirtualTime()
  let ended = 0
  const upload = new UploadFlow({
    send: (ports) => sendForm<UploadResult>({ ...ports, path: '/upload', open: () => fake.request }),
    clock: time.clock,
    newKey: () => 'key-1',
    ondone: () => {
      ended += 1
    },
  })
  const file = (name: string, size: number) => new File([new Uint8Array(size)], name)
  const running = upload.start({
    model: file('m.onnx', 1000),
    manifest: file('m.json', 10),
    scaler: undefined,
  })
  return { ...fake, upload, time, running, ended: () => ended }
}

describe('an upload', () => {
  it('is sent once, with a key, and says how far it is', async () => {
    const { upload, asked, time, progress, sent, answer, running } = flow()
    expect(asked).toMatchObject({ method: 'POST', path: '/upload', headers: { 'idempotency-key': 'key-1' } })
    expect([...(asked.form?.keys() ?? [])]).toEqual(['file', 'manifest'])
    await time.advance(500)
    progress(100, 1010)
    expect(upload.progress).toBe('100 B of 1.0 KB')
    await time.advance(1500)
    progress(200, 1010)
    expect(upload.progress).toBe('200 B of 1.0 KB · 100 B/s')
    await time.advance(3000)
    progress(500, 1000)
    expect(upload.progress).toBe('500 B of 1.0 KB · 100 B/s · about 5.0 s left')
    sent()
    expect(upload.state.kind).toBe('checking')
    answer(201, { model_id: 'model-1' })
    await running
    expect(upload.state).toMatchObject({ kind: 'done', result: { model_id: 'model-1' } })
  })

  it('that is refused says why', async () => {
    const { upload, answer, running, ended } = flow()
    answer(422, {
      title: 'Refused',
      detail: 'a pickle',
      code: 'model_refused',
      hint: 'convert it',
      facts: {},
    })
    await running
    expect(upload.state).toMatchObject({ kind: 'failed', failure: { kind: 'refused', hint: 'convert it' } })
    expect([upload.busy, ended()]).toEqual([false, 1])
  })

  it('that is cut off may have come to something', async () => {
    const { upload, progress, lose, running } = flow()
    progress(600, 1000)
    lose()
    await running
    expect(upload.state).toMatchObject({ kind: 'failed', failure: { kind: 'unknown' } })
  })

  it('can be cancelled', async () => {
    const { upload, running, progress } = flow()
    upload.cancel()
    await running
    progress(700, 1000)
    expect(upload.state.kind).toBe('cancelled')
  })

  it('names its session by a UUID', () =>
    expect(newUuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/))
})
