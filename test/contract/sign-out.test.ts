import { systemClock } from '@understudy/shared/core/time'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createTokens } from '../../coordinator/src/http/http.ts'
import { type Bench, startBench, until } from './bench.ts'

/** A login that ends ends what was opened with it. */

/** Every WebSocket on which pages listen. */
const FEEDS = [
  '/api/live',
  '/api/live/readings',
  '/api/v1/ml/decisions/live',
  '/api/v1/ml/predictions/live',
  '/api/v1/lab/live?instance_id=i-lab-test-001',
]

let bench: Bench
beforeAll(async () => {
  bench = await startBench()
})
afterAll(() => bench.close())

/** The cookie of a page that has signed in with this token. */
async function signIn(token: string): Promise<string> {
  const response = await fetch(`${bench.url}/api/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  })
  return response.headers.get('set-cookie')?.split(';')[0] ?? ''
}

/** Opens all of them; says with which code each has closed since. */
async function openAll(headers: Record<string, string>) {
  const codes = new Map<string, number>()
  const sockets = FEEDS.map((feed) => {
    const socket = new WebSocket(`${bench.url.replace('http', 'ws')}${feed}`, { headers })
    socket.on('close', (code) => codes.set(feed, code))
    return socket
  })
  await Promise.all(
    sockets.map(
      (socket) =>
        new Promise((resolve, reject) => {
          socket.once('open', resolve)
          socket.once('error', reject)
        }),
    ),
  )
  return codes
}

const allSignedOut = new Map(FEEDS.map((feed) => [feed, 4401]))

test('who signs out hears nothing more on any feed, and others go on', async () => {
  const token = await bench.operatorToken('viewer')
  const [cookie, another] = [await signIn(token), await signIn(token)]
  const [leaving, staying] = [await openAll({ cookie }), await openAll({ cookie: another })]
  expect([...leaving, ...staying]).toEqual([])
  const headers = { authorization: '', cookie, 'content-type': 'application/json' }
  expect((await bench.call('DELETE', '/api/session', undefined, headers)).status).toBe(204)
  await until(() => leaving.size === FEEDS.length)
  expect(leaving).toEqual(allSignedOut)
  expect([...staying]).toEqual([])
})

test('a token that is revoked ends its feeds, and the sessions that were made from it with theirs', async () => {
  const token = await bench.operatorToken('operator')
  const cookie = await signIn(token)
  const opened = [await openAll({ authorization: `Bearer ${token}` }), await openAll({ cookie })]
  expect((await bench.call('GET', '/api/agents', undefined, { authorization: '', cookie })).status).toBe(200)
  // As the command line does it, beside the coordinator that runs.
  expect(await createTokens(bench.db, systemClock).revoke(token.split('_')[1] ?? '')).toBe(true)
  expect((await bench.call('GET', '/api/agents', undefined, { authorization: '', cookie })).status).toBe(401)
  await until(() => opened.every(({ size }) => size === FEEDS.length))
  expect(opened).toEqual([allSignedOut, allSignedOut])
})
