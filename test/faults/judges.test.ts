import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { canMount, mountSmallDisk, unmountDisk } from '../../agent/src/replication/small-disk.ts'
import { openKeyValueStore } from '../../coordinator/src/demo/kv-store.ts'
import { type Conditions, openGate } from './gate.ts'
import { within } from './limits.ts'
import { plant } from './plant.ts'
import { skippedRow } from './play.ts'
import { inodeIn } from './socket-table.ts'
import { tableOf, withTable } from './table.ts'
import { compareTrees } from './trees.ts'

/** The harness itself: what it judges with can fail, and what it breaks breaks. */

const undoing: (() => unknown)[] = []
afterEach(async () => {
  for (const undo of undoing.splice(0).reverse()) await undo()
})

function twoTrees() {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-trees-'))
  undoing.push(() => rmSync(directory, { recursive: true }))
  const [first, second] = [join(directory, 'first'), join(directory, 'second')]
  mkdirSync(first)
  plant(first)
  cpSync(first, second, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
  return { first, second }
}

test('a copy of a tree is equal to it', () => {
  const { first, second } = twoTrees()
  const { entries, differences } = compareTrees(first, second)
  expect(differences).toEqual([])
  expect(entries).toBeGreaterThan(40)
})

test.each<[string, (second: string) => void, RegExp]>([
  [
    'one byte',
    (second) => writeFileSync(join(second, 'planted/a/b/tool'), '#!/bin/sh\nexit 1\n'),
    /another byte at 15/,
  ],
  ['a mode', (second) => chmodSync(join(second, 'planted/a/plain'), 0o600), /mode 644 and 600/],
  ['a missing name', (second) => rmSync(join(second, 'planted/a/empty')), /missing in the second/],
  ['a name too many', (second) => writeFileSync(join(second, 'planted/more'), ''), /missing in the first/],
  ['a size', (second) => writeFileSync(join(second, 'planted/a/empty'), 'x'), /0 and 1 bytes/],
  [
    'the target of a link',
    (second) => {
      rmSync(join(second, 'planted/a/link'))
      symlinkSync('b/c/other', join(second, 'planted/a/link'))
    },
    /leads elsewhere/,
  ],
  [
    'a type',
    (second) => {
      rmSync(join(second, 'planted/a/link'))
      mkdirSync(join(second, 'planted/a/link'))
    },
    /of another type/,
  ],
])('two trees that differ in %s are not equal', (_, change, said) => {
  const { first, second } = twoTrees()
  change(second)
  expect(compareTrees(first, second).differences.join('; ')).toMatch(said)
})

async function echoThroughGate() {
  const set: { up: Conditions; down: Conditions } = { up: { state: 'open' }, down: { state: 'open' } }
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const gate = await openGate(
    async () => ({ from: 'a', to: 'b', port }),
    (from) => (from === 'a' ? set.up : set.down),
  )
  undoing.push(
    () => new Promise((resolve) => server.close(resolve)),
    () => gate.close(),
  )
  const client = connect(gate.port, '127.0.0.1')
  client.on('error', () => undefined)
  undoing.push(() => client.destroy())
  const said = (text: string) => answered(client, text)
  return { set, gate, client, said }
}

/** Milliseconds until what was sent has come back; undefined when it has not within 300 ms. */
function answered(client: Socket, text: string): Promise<number | undefined> {
  const began = performance.now()
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve(undefined), 300)
    client.once('data', () => {
      clearTimeout(late)
      resolve(performance.now() - began)
    })
    client.write(text)
  })
}

test('a gate holds one direction without closing anything, and lets go what it held', async () => {
  const { set, gate, client, said } = await echoThroughGate()
  expect(await said('one')).toBeLessThan(200)
  set.down = { state: 'held' }
  gate.update()
  expect(await said('two')).toBeUndefined()
  expect(client.destroyed).toBe(false)
  const held = new Promise((resolve) => client.once('data', (part) => resolve(part.toString())))
  set.down = { state: 'open' }
  gate.update()
  expect(await held).toBe('two')
})

test('a gate delays, and cuts for good', async () => {
  const { set, gate, client, said } = await echoThroughGate()
  set.up = { state: 'open', delay: () => 60 }
  expect(await said('late')).toBeGreaterThanOrEqual(59)
  const closed = new Promise((resolve) => client.once('close', resolve))
  set.up = { state: 'cut' }
  gate.update()
  await closed
  const again = connect(gate.port, '127.0.0.1')
  await new Promise((resolve) => again.once('error', resolve).once('close', resolve))
  expect(again.destroyed).toBe(true)
})

test('who has dialled is found by the port of its socket; the other end, and what has ended, is not it', async () => {
  const row = (local: string, remote: string, inode: number) =>
    `   7: 0100007F:${local} 0100007F:${remote} 01 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0 20 4 30 10 -1`
  const table = [row('1F90', 'C350', 11), row('C350', '1F90', 0), row('C350', '1F91', 12), ''].join('\n')
  expect([0xc350, 0x1f90, 0x1f91].map((port) => inodeIn(table, port))).toEqual(['12', '11', undefined])

  const server = createServer().listen(0, '127.0.0.1')
  undoing.push(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1')
  undoing.push(() => socket.destroy())
  await new Promise((resolve) => socket.once('connect', resolve))
  const inode = inodeIn(readFileSync('/proc/net/tcp', 'latin1'), socket.localPort ?? 0)
  const open = readdirSync('/proc/self/fd').map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`)
    } catch {
      // It was that of the directory that is read here.
      return ''
    }
  })
  expect(open).toContain(`socket:[${inode}]`)
})

test('the table goes between its markers, and what failed is not hidden', () => {
  const row = {
    id: 1,
    fault: 'A fault',
    inject: 'by hand | or not',
    expected: 'Nothing.',
    seen: 'two workloads',
    time_ms: 1200,
    writes_acked: 10,
    writes_lost: 0,
    outcome: 'failed' as const,
  }
  const table = tableOf([row])
  expect(table).toContain(
    '| 1 | A fault: by hand \\| or not | Nothing. | **Not as expected**: two workloads | 1,200 | 10 | 0 |',
  )
  const text = 'before\n<!-- faults:begin -->\nold\n<!-- faults:end -->\nafter\n'
  const next = withTable(text, table)
  expect(next).toContain(table)
  expect(next).not.toContain('old')
  expect(withTable(next, table)).toBe(next)
  expect(() => withTable('no markers', table)).toThrow(/needs/)
})

test('a fault whose turn did not come has a row that says so', () => {
  const fault = { id: 7, title: 'A fault', inject: 'by hand', expected: 'Nothing.' }
  expect(tableOf([skippedRow(fault, 'the run was interrupted')])).toContain(
    '| 7 | A fault: by hand | Nothing. | *Not played*: the run was interrupted |',
  )
})

test('what takes too long is given up by its name, and what is in time keeps its own outcome', async () => {
  await expect(within('a thing', 10, new Promise(() => undefined))).rejects.toThrow(
    'a thing: given up after 0.01 s',
  )
  await expect(within('a thing', 60_000, Promise.resolve(3))).resolves.toBe(3)
  await expect(within('a thing', 60_000, Promise.reject(new Error('its own')))).rejects.toThrow('its own')
})

test('a record that does not fit on the disk is refused, and leaves nothing behind', ({ skip }) => {
  if (!canMount) skip('nothing may be mounted here')
  const state = mkdtempSync(join(tmpdir(), 'understudy-kv-'))
  undoing.push(() => rmSync(state, { recursive: true }))
  mountSmallDisk(state, 1)
  undoing.push(() => unmountDisk(state))
  const store = openKeyValueStore(state)
  store.put('first', 'v'.repeat(900 * 1024))
  expect(() => store.put('large', 'v'.repeat(300 * 1024))).toThrow(/no space left|ENOSPC/)
  store.put('small', '1')
  store.sync()
  const again = openKeyValueStore(state)
  expect([again.size, again.get('large'), again.get('small')]).toEqual([2, undefined, '1'])
})
