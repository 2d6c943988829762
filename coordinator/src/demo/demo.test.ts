import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { demoAgents } from './fleet-story.ts'
import { openKeyValueStore } from './kv-store.ts'
import { findOverlaps } from './witness.ts'
import { startWriter } from './writer.ts'

const scratch: string[] = []
afterEach(() => {
  for (const directory of scratch.splice(0)) rmSync(directory, { recursive: true, force: true })
})
function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'understudy-kv-'))
  scratch.push(made)
  return made
}

test('the store keeps what was put, over a restart and several segments', () => {
  const state = directory()
  const store = openKeyValueStore(state)
  for (let index = 0; index < 20; index += 1) store.put(`k${index}`, 'v'.repeat(1024 * 1024))
  store.put('k3', 'changed')
  store.sync()
  expect(readdirSync(state).length).toBeGreaterThan(2)
  const again = openKeyValueStore(state)
  expect(again.size).toBe(20)
  expect(again.get('k3')).toBe('changed')
})

test('a torn end is cut off, and what comes after it is written in its place', () => {
  const state = directory()
  const store = openKeyValueStore(state)
  store.put('a', '1')
  store.put('b', '2')
  store.sync()
  const [segment = ''] = readdirSync(state)
  const path = join(state, segment)
  const whole = readFileSync(path)
  for (let length = 0; length < whole.length; length += 1) {
    writeFileSync(path, whole.subarray(0, length))
    const cut = openKeyValueStore(state)
    expect([cut.get('a'), cut.get('b')]).toEqual(
      length < whole.length / 2 ? [undefined, undefined] : ['1', undefined],
    )
  }
  appendFileSync(path, 'garbage')
  const store2 = openKeyValueStore(state)
  store2.put('c', '3')
  expect(openKeyValueStore(state).get('c')).toBe('3')
})

test('the store goes back to the last record that is kept, over segments and a restart', () => {
  const state = directory()
  const store = openKeyValueStore(state)
  const large = 'v'.repeat(3 * 1024 * 1024)
  for (const index of [1, 2, 3, 4]) store.put(`kept-${index}`, large)
  store.sync()
  const before = readdirSync(state).map((name) => readFileSync(join(state, name)))
  for (const index of [1, 2, 3, 4, 5, 6]) store.put(`more-${index}`, large)
  expect(readdirSync(state).length).toBeGreaterThan(before.length)
  const isKept = (key: string) => key.startsWith('kept')
  store.cutBack(isKept)
  expect(store.size).toBe(4)
  const after = readdirSync(state).map((name) => readFileSync(join(state, name)))
  expect(after.every((bytes, index) => before[index]?.equals(bytes))).toBe(true)
  expect(after).toHaveLength(before.length)
  store.put('more-7', 'x')
  store.sync()
  const again = openKeyValueStore(state)
  expect([...again.keys()]).toEqual(['kept-1', 'kept-2', 'kept-3', 'kept-4', 'more-7'])
  again.cutBack(() => false)
  expect([again.size, openKeyValueStore(state).size]).toEqual([0, 0])
})

test('the client learns that another process answers, and does not write where it only reads', async () => {
  const first = await serve('i-1')
  const reader = startWriter(first.port, 0)
  const writer = startWriter(first.port, 200, { name: 'a' })
  try {
    await expect.poll(() => writer.counters.acked).toBeGreaterThan(5)
    writer.mark()
    reader.mark()
    expect(await writer.takeover(50)).toBeUndefined()
    const moved = Date.now()
    first.name = 'i-2'
    expect(await writer.takeover(20_000)).toBeGreaterThanOrEqual(moved)
    expect(await reader.takeover(20_000)).toBeGreaterThanOrEqual(moved)
    expect(reader.counters.sent).toBe(0)
    expect(first.asked.has('GET /health')).toBe(true)
    expect(first.asked.has('PUT /kv/a-1')).toBe(true)
  } finally {
    await writer.stop()
    await reader.stop()
    first.server.closeAllConnections()
    first.server.close()
  }
})

/** Answers everything, under a name that can be changed. */
async function serve(name: string) {
  const asked = new Set<string>()
  const server = createServer((request, response) => {
    asked.add(`${request.method} ${request.url}`)
    response.writeHead(200, { 'x-served-by': there.name })
    response.end('ok')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const there = { name, asked, server, port: (server.address() as AddressInfo).port }
  return there
}

test('the witness sees two processes of one agent that ran at the same time', () => {
  const stamp = (agent: string, epoch: number, instance: string, pid: number) =>
    `${agent} ${epoch} ${instance} ${pid}\n`
  const clean =
    stamp('a', 1, 'i-1', 10) + stamp('b', 1, 'i-3', 12) + stamp('a', 1, 'i-1', 10) + stamp('a', 2, 'i-2', 11)
  expect(findOverlaps(clean)).toEqual([])
  expect(findOverlaps(clean + stamp('a', 1, 'i-1', 10))).toEqual([
    { agent: 'a', first: 'i-2/11 at epoch 2', second: 'i-1/10 at epoch 1' },
  ])
})

test('agents are named as in the examples of the documentation', () => {
  expect(demoAgents(6).map(({ id, name }) => `${id} ${name}`)).toEqual([
    'agent-demo-1 api-1',
    'agent-demo-2 web-1',
    'agent-demo-3 queue-1',
    'agent-demo-4 cache-1',
    'agent-demo-5 batch-1',
    'agent-demo-6 api-1b',
  ])
})
