import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { millis, systemClock } from '@understudy/shared/core/time'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import * as sdk from './s3-sdk.ts'
import { createS3Store } from './s3-store.ts'

/** Downloads over a real socket, as networks end them: msw has no broken connections. */

let server: Server
let answers: ((response: ServerResponse) => void)[] = []
let asked = 0

beforeEach(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDEXAMPLE')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'not-a-real-secret')
  asked = 0
  server = createServer((_, response) => {
    const answer = answers[Math.min(asked, answers.length - 1)]
    asked += 1
    response.setHeader('content-length', '13')
    answer?.(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterEach(() => {
  vi.unstubAllEnvs()
  server.closeAllConnections()
  server.close()
})

const get = async (silence: number) => {
  const { port } = server.address() as AddressInfo
  const settings = { bucket: 'snapshots', prefix: '', endpoint: `http://127.0.0.1:${port}`, pathStyle: true }
  const store = createS3Store(sdk, { ...settings, silence: millis(silence) }, systemClock)
  try {
    return (await store.get('a/x', 100, new AbortController().signal)).toString()
  } finally {
    store.close()
  }
}
const whole = (response: ServerResponse) => response.end('whole content')
const cut = (response: ServerResponse) => response.write('whole', () => response.destroy())
const stall = (response: ServerResponse) => response.write('whole')

test('a download that is cut off is begun again', async () => {
  answers = [cut, cut, whole]
  expect(await get(30_000)).toBe('whole content')
  expect(asked).toBe(3)
})

test('a download that stands still is given up and begun again', async () => {
  answers = [stall, whole]
  expect(await get(2000)).toBe('whole content')
  expect(asked).toBe(2)
})

test('a slow download that goes on is waited for', async () => {
  answers = [
    (response) => {
      const letters = [...'whole content']
      const timer = setInterval(() => {
        const letter = letters.shift()
        if (letter !== undefined) return response.write(letter)
        clearInterval(timer)
        response.end()
      }, 200)
    },
  ]
  expect(await get(2000)).toBe('whole content')
  expect(asked).toBe(1)
})

test('a download that is cut off every time fails, retryable', async () => {
  answers = [cut]
  await expect(get(30_000)).rejects.toMatchObject({ code: 'unavailable', retryable: true })
  expect(asked).toBe(5)
})
