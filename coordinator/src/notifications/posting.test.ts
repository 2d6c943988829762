import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { millis, systemClock } from '@understudy/shared/core/time'
import { afterEach, expect, test } from 'vitest'
import { createPoster, type Poster, type ProxySettings } from './posting.ts'
import { aReceiver } from './testing.ts'

const MESSAGE = { id: 'm_1', text: 'hello', payload: '{"type":"test"}', threadRef: null }
const NO_PROXY: ProxySettings = { httpProxy: '', httpsProxy: '', noProxy: '' }

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A receiver on this machine, and what it has heard. */
async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const heard: { url: string; headers: IncomingMessage['headers']; body: string }[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    heard.push({ url: request.url ?? '', headers: request.headers, body })
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return { heard, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

function open(...given: [ProxySettings?, number?]): Poster {
  const poster = createPoster(systemClock, given[0] ?? NO_PROXY, millis(given[1] ?? 5000))
  cleanups.push(() => poster.close())
  return poster
}
const post = (poster: Poster, url: string, allowLocal = true) =>
  poster.post(aReceiver({ url, allowLocal }), MESSAGE, new AbortController().signal)

test('a message arrives signed, and its answer is taken', async () => {
  const { heard, url } = await listen((_, response) => response.writeHead(202).end('thanks'))
  expect(await post(open(), `${url}/hook?a=b`)).toMatchObject({ ok: true, status: 202 })
  expect(heard).toMatchObject([{ url: '/hook?a=b', body: MESSAGE.payload, headers: { 'webhook-id': 'm_1' } }])
  expect(heard[0]?.headers['webhook-signature']).toMatch(/^v1,[A-Za-z0-9+/]{43}=$/)
})

test('a redirect is not followed', async () => {
  const other = await listen((_, response) => response.end())
  const { url } = await listen((_, response) => response.writeHead(307, { location: other.url }).end())
  expect(await post(open(), url)).toMatchObject({ ok: false, status: 307 })
  expect(other.heard).toEqual([])
})

test('of an answer without an end the beginning is read', async () => {
  const { url } = await listen((_, response) => {
    response.writeHead(500, { 'retry-after': '9' })
    const more = () => {
      while (!response.destroyed && response.write('x'.repeat(8192)));
      if (!response.destroyed) response.once('drain', more)
    }
    more()
  })
  const attempt = await post(open(), url)
  expect(attempt).toMatchObject({ ok: false, status: 500, retryAfter: 9000 })
  expect(attempt.error?.length).toBeLessThan(250)
})

test('who does not answer is given up, and who does not listen says why', async () => {
  const { url } = await listen(() => undefined)
  expect(await post(open(NO_PROXY, 60), url)).toMatchObject({
    status: null,
    error: 'no answer within 0.06 s',
  })
  expect((await post(open(), 'http://127.0.0.1:1/')).error).toMatch(/ECONNREFUSED/)
})

test('loopback is refused unless somebody allows it, by its address and by a name that leads there', async () => {
  const { heard, url } = await listen((_, response) => response.end())
  const poster = open()
  expect(await post(poster, url, false)).toMatchObject({ ok: false, error: expect.stringContaining('link') })
  const named = url.replace('127.0.0.1', 'localhost')
  expect(await post(poster, named, false)).toMatchObject({ ok: false })
  expect(heard).toEqual([])
})

test('a proxy that cannot be one is said, and breaks nothing', async () => {
  expect(
    await post(open({ httpsProxy: 'no proxy at all', httpProxy: 'neither' }), 'https://ops.example/'),
  ).toMatchObject({
    ok: false,
    status: null,
    error: expect.any(String),
  })
})

test('a proxy is used, but for those that NO_PROXY names', async () => {
  const proxy = await listen((_, response) => response.writeHead(200).end())
  const there = await listen((_, response) => response.end())
  const poster = open({ httpProxy: proxy.url, httpsProxy: proxy.url, noProxy: '127.0.0.1' })
  // The proxy is on this machine, and looks up what it is asked for itself.
  expect(await post(poster, 'http://ops.example/hook', false)).toMatchObject({ ok: true })
  expect(proxy.heard).toMatchObject([{ url: 'http://ops.example/hook' }])
  expect(await post(poster, there.url)).toMatchObject({ ok: true })
  expect(there.heard).toHaveLength(1)
})
