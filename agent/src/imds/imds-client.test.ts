import { seededRandom } from '@understudy/shared/core/random'
import { systemClock } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { delay, HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createImdsClient } from './imds-client.ts'

const BASE = 'http://169.254.169.254/latest'
const NOTICE = `${BASE}/meta-data/spot/instance-action`
const server = setupServer()
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterEach(() => server.resetHandlers())
afterAll(() => server.close())

const client = () => createImdsClient('http://169.254.169.254/', systemClock, seededRandom(1))
const get = () => client().get('meta-data/spot/instance-action')

/** Gives out tokens `token-1`, `token-2`, …, and counts them. */
function tokens() {
  let given = 0
  const handler = http.put(`${BASE}/api/token`, ({ request }) => {
    expect(request.headers.get('x-aws-ec2-metadata-token-ttl-seconds')).toBe('21600')
    given += 1
    return HttpResponse.text(`token-${given}`)
  })
  return { handler, given: () => given }
}

test('a body is read with a token, and one token serves many reads', async () => {
  const { handler, given } = tokens()
  const seen: (string | null)[] = []
  server.use(
    handler,
    http.get(NOTICE, ({ request }) => {
      seen.push(request.headers.get('x-aws-ec2-metadata-token'))
      return HttpResponse.text('{"action":"terminate"}')
    }),
  )
  const imds = client()
  expect(await imds.get('meta-data/spot/instance-action')).toBe('{"action":"terminate"}')
  await Promise.all([1, 2, 3].map(() => imds.get('meta-data/spot/instance-action')))
  expect(seen).toEqual(['token-1', 'token-1', 'token-1', 'token-1'])
  expect(given()).toBe(1)
})

test('404 is the normal answer and means nothing of the kind', async () => {
  server.use(
    tokens().handler,
    http.get(NOTICE, () => new HttpResponse(null, { status: 404 })),
  )
  expect(await get()).toBeUndefined()
})

test('after a 401 the token is replaced, not added to', async () => {
  const { handler, given } = tokens()
  const seen: (string | null)[] = []
  server.use(
    handler,
    http.get(NOTICE, ({ request }) => {
      const token = request.headers.get('x-aws-ec2-metadata-token')
      seen.push(token)
      return token === 'token-2' ? HttpResponse.text('ok') : new HttpResponse(null, { status: 401 })
    }),
  )
  expect(await get()).toBe('ok')
  expect(seen).toEqual(['token-1', 'token-2'])
  expect(given()).toBe(2)
})

test('a service that refuses every token is not asked for ever', async () => {
  const { handler, given } = tokens()
  server.use(
    handler,
    http.get(NOTICE, () => new HttpResponse(null, { status: 401 })),
  )
  await expect(get()).rejects.toMatchObject({ code: 'imds_unusable' })
  expect(given()).toBe(2)
})

test('a 503 is tried again and heals', async () => {
  let asked = 0
  server.use(
    tokens().handler,
    http.get(NOTICE, () => {
      asked += 1
      return asked < 4 ? new HttpResponse(null, { status: 503 }) : HttpResponse.text('ok')
    }),
  )
  expect(await get()).toBe('ok')
  expect(asked).toBe(4)
})

test('a service that stays down ends in an error that says so, within the budget', async () => {
  server.use(http.put(`${BASE}/api/token`, () => new HttpResponse(null, { status: 503 })))
  const time = createVirtualTime()
  const reading = createImdsClient('http://169.254.169.254/', time.clock, seededRandom(1)).get('x')
  const refused = expect(reading).rejects.toMatchObject({ code: 'imds_unreachable', retryable: true })
  let over = false
  void refused.finally(() => {
    over = true
  })
  while (!over) {
    // What is asked is answered in real time; only the waits between are not.
    if (time.pending() > 0) await time.advance(50)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await refused
  expect(time.clock.mono()).toBeLessThanOrEqual(5000)
})

test('a token request that is never answered points at the hop limit', async () => {
  server.use(http.put(`${BASE}/api/token`, () => delay('infinite')))
  await expect(get()).rejects.toMatchObject({
    code: 'imds_hop_limit',
    hint: expect.stringContaining('--http-put-response-hop-limit 2'),
  })
})

test('metadata that is turned off says how to turn it on', async () => {
  server.use(http.put(`${BASE}/api/token`, () => new HttpResponse(null, { status: 403 })))
  await expect(get()).rejects.toMatchObject({
    code: 'imds_forbidden',
    hint: expect.stringContaining('--http-endpoint enabled'),
  })
})

test('a service that only speaks version 1 is not used, though it would answer', async () => {
  let read = false
  server.use(
    http.put(`${BASE}/api/token`, () => new HttpResponse(null, { status: 404 })),
    http.get(NOTICE, () => {
      read = true
      return HttpResponse.text('{"action":"terminate"}')
    }),
  )
  await expect(get()).rejects.toMatchObject({
    code: 'imds_unusable',
    message: expect.stringContaining('404'),
  })
  expect(read).toBe(false)
})

test.each([
  ['nothing', ''],
  ['two lines', 'two\nlines'],
  ['a very long text', 'x'.repeat(5000)],
])('%s is not a token', async (_, body) => {
  server.use(http.put(`${BASE}/api/token`, () => HttpResponse.text(body)))
  await expect(get()).rejects.toMatchObject({ code: 'imds_unusable' })
})

test('an answer without end is cut off', async () => {
  server.use(
    tokens().handler,
    http.get(NOTICE, () => HttpResponse.text('x'.repeat(100_000))),
  )
  await expect(get()).rejects.toMatchObject({ code: 'imds_unusable' })
})

test('reading ends with its signal', async () => {
  server.use(
    tokens().handler,
    http.get(NOTICE, () => delay('infinite')),
  )
  await expect(client().get('meta-data/spot/instance-action', AbortSignal.timeout(50))).rejects.toThrow()
})
