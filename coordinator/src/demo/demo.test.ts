import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { demoAgents } from './fleet-story.ts'
import { openKeyValueStore } from './kv-store.ts'
import { findOverlaps } from './witness.ts'

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
