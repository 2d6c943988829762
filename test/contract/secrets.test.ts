import { afterEach, expect, test } from 'vitest'
import { type Bench, startBench } from './bench.ts'

let bench: Bench
afterEach(() => bench.close())

test('a join token is not kept with the answer that is kept for an Idempotency-Key', async () => {
  bench = await startBench()
  const key = { 'idempotency-key': 'one' }
  const ask = () => bench.call('POST', '/api/agents/a/join-tokens', {}, key)
  const [first, second] = [await ask(), await ask()]
  expect(first.status).toBe(201)
  expect(second.body.join_token).not.toBe(first.body.join_token)
  expect(JSON.stringify(await bench.idempotencyKeys())).not.toContain(first.body.join_token)
})

test('a keyed call without a token is refused, and nothing is kept of it', async () => {
  bench = await startBench()
  for (const authorization of ['', 'Bearer garbage', `Bearer us_${'0'.repeat(16)}_${'a'.repeat(43)}`]) {
    const headers = { authorization, 'idempotency-key': crypto.randomUUID() }
    expect((await bench.call('POST', '/api/agents/a/replicas', {}, headers)).status).toBe(401)
  }
  expect(await bench.idempotencyKeys()).toEqual([])
})

test('behind a proxy that ends TLS the session cookie is for TLS only', async () => {
  bench = await startBench()
  const signIn = async (headers: Record<string, string>) => {
    const response = await fetch(`${bench.url}/api/session`, {
      method: 'POST',
      body: JSON.stringify({ token: bench.adminToken }),
      headers: { 'content-type': 'application/json', ...headers },
    })
    return response.headers.get('set-cookie') ?? ''
  }
  expect(await signIn({ 'x-forwarded-proto': 'https' })).toMatch(/; Secure/)
  expect(await signIn({})).not.toMatch(/Secure/)
})
