import { describe, expect, it, vi } from 'vitest'
import { createHttp, newKey } from './http.ts'

const problem = (status: number, code: string) =>
  new Response(
    JSON.stringify({ title: 'Not possible now', detail: 'why', code, status, facts: { epoch: 3 } }),
    {
      status,
      headers: { 'content-type': 'application/problem+json' },
    },
  )

const asked = async (answer: () => Promise<Response>, timeoutMillis?: number) => {
  const fetch = vi.fn((_: unknown, init?: RequestInit) => {
    const aborted = new Promise<never>((_resolve, reject) =>
      init?.signal?.addEventListener('abort', () => reject(init.signal?.reason as Error)),
    )
    return Promise.race([answer(), aborted])
  })
  const signedOut = vi.fn()
  const http = createHttp(fetch as unknown as typeof globalThis.fetch, signedOut)
  const result = await http({
    method: 'POST',
    path: '/api/x',
    body: { a: 1 },
    key: 'k',
    ...(timeoutMillis === undefined ? {} : { timeoutMillis }),
  })
  return { result, signedOut, init: fetch.mock.calls[0]?.[1] }
}

describe('a call', () => {
  it('carries JSON and its key', async () => {
    const { result, init } = await asked(async () => new Response('{"b":2}', { status: 202 }))
    expect(result).toEqual({ ok: true, status: 202, body: { b: 2 } })
    expect(init?.body).toBe('{"a":1}')
    expect(init?.headers).toMatchObject({ 'content-type': 'application/json', 'idempotency-key': 'k' })
  })

  it.each([400, 403, 404, 409, 503, 507])('status %d with a problem is a refusal', async (status) => {
    const { result } = await asked(async () => problem(status, 'stale_epoch'))
    expect(result).toMatchObject({ ok: false, kind: 'refused', detail: 'why', facts: { epoch: 3 } })
  })

  it('a refusal names the places that were wrong, where there are any', async () => {
    const errors = [{ pointer: '/input/now', message: 'no time' }]
    const body = JSON.stringify({
      title: 'The request is not valid',
      detail: 'why',
      code: 'input_invalid',
      errors,
    })
    const { result } = await asked(async () => new Response(body, { status: 400 }))
    expect(result).toMatchObject({ ok: false, errors })
    expect((await asked(async () => problem(409, 'conflict'))).result).not.toHaveProperty('errors')
  })

  it.each([500, 504])('after status %d nobody knows what has happened', async (status) => {
    const { result } = await asked(async () => problem(status, 'outcome_unknown'))
    expect(result).toMatchObject({ ok: false, kind: 'unknown' })
  })

  it('nor after an answer that is not from the coordinator', async () => {
    const { result } = await asked(async () => new Response('<html>Bad Gateway', { status: 503 }))
    expect(result).toMatchObject({ ok: false, kind: 'unknown' })
  })

  it('nor without any answer', async () => {
    const { result } = await asked(() => Promise.reject(new TypeError('Failed to fetch')))
    expect(result).toMatchObject({ ok: false, kind: 'unknown', status: undefined })
  })

  it('nor after its time is over', async () => {
    const { result } = await asked(() => new Promise(() => {}), 20)
    expect(result).toMatchObject({ ok: false, kind: 'unknown', detail: expect.stringContaining('0.02 s') })
  })

  it('tells when the session has ended', async () => {
    const { signedOut } = await asked(async () => problem(401, 'unauthenticated'))
    expect(signedOut).toHaveBeenCalledOnce()
  })

  it('has a key of its own for every wish', () => expect(newKey()).not.toBe(newKey()))
})
