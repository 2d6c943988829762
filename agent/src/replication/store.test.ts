import {
  appendFileSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FrameFlag, FrameType, type Op } from '@understudy/shared/protocol/replication'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { createApplier } from './applier.ts'
import { createCompressor } from './compression.ts'
import { checkFrame, packFrame, unpackBody } from './frames.ts'
import { openReceiverStore, type ReceiverStore } from './receiver-store.ts'
import { canMount, mountSmallDisk, unmountDisk } from './small-disk.ts'
import { createStateRoots } from './state-files.ts'
import { StateTree } from './state-tree.ts'
import { frameOf, noXattrs, take } from './testing.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-store-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

const meta = (mode = 0o644) => ({ mode, uid: 0, gid: 0, mtimeMicros: 1_700_000_000_123_456, xattrs: '' })
const file = (path: string, text: string): Op[] => [
  { kind: 'file', root: 0, path, meta: meta(), size: text.length, fresh: false },
  { kind: 'write', root: 0, path, offset: 0, bytes: Buffer.from(text) },
]
async function openStore(base = scratch()): Promise<{ store: ReceiverStore; state: string; base: string }> {
  const state = join(base, 'state')
  mkdirSync(state, { recursive: true })
  const store = await openReceiverStore(
    createStateRoots([state]),
    join(base, 'data'),
    noXattrs,
    pino({ level: 'silent' }),
  )
  cleanups.push(() => store.close().catch(() => undefined))
  return { store, state, base }
}

const content = (state: string): Record<string, string> =>
  Object.fromEntries(readdirSync(state).map((name) => [name, readFileSync(join(state, name), 'utf8')]))

test('a batch is nothing before it is committed, and all of it afterwards', async () => {
  const { store, state } = await openStore()
  await take(store, frameOf(1, [...file('a', 'one'), ...file('b', 'two')]))
  expect(content(state)).toEqual({})
  expect(await store.commit(true)).toEqual({ durable: 1, taken: 1 })
  expect(content(state)).toEqual({ a: 'one', b: 'two' })
})

test('of a group nothing is put in place before its last batch has come', async () => {
  const { store, state } = await openStore()
  await take(store, frameOf(1, file('a', 'one'), 0))
  await store.commit(true)
  expect(content(state)).toEqual({})
  await take(store, frameOf(2, file('b', 'two')))
  await store.commit(true)
  expect(content(state)).toEqual({ a: 'one', b: 'two' })
})

test('a crash at any byte of the journal leaves the last whole group', async () => {
  const first = frameOf(1, file('a', 'old'))
  const second = frameOf(2, file('a', 'new'), 0)
  const third = frameOf(3, file('b', 'new'))
  const journal = Buffer.concat([first.frame, second.frame, third.frame])
  for (let length = 0; length <= journal.length; length += 1) {
    const base = scratch()
    mkdirSync(join(base, 'data'), { recursive: true })
    writeFileSync(join(base, 'data', 'journal'), journal.subarray(0, length))
    const { store, state } = await openStore(base)
    const expected =
      length < first.frame.length ? {} : length < journal.length ? { a: 'old' } : { a: 'new', b: 'new' }
    expect(content(state), `after ${length} bytes`).toEqual(expected)
    await store.close()
    cleanups.pop()
    rmSync(base, { recursive: true })
    cleanups.pop()
  }
}, 60_000)

test('a journal that is replayed twice has the effect of once', async () => {
  const { store, state, base } = await openStore()
  const ops: Op[] = [
    ...file('a', 'one'),
    { kind: 'dir', root: 0, path: 'd', meta: meta(0o755) },
    ...file('d/x', 'deep'),
    { kind: 'remove', root: 0, path: 'a' },
    { kind: 'symlink', root: 0, path: 'l', meta: meta(0o777), target: 'd/x' },
  ]
  await take(store, frameOf(1, ops))
  const journal = join(base, 'data', 'journal')
  copyFileSync(journal, `${journal}.copy`)
  await store.commit(true)
  await store.close()
  copyFileSync(`${journal}.copy`, journal)
  await openStore(base)
  expect(readdirSync(state).sort()).toEqual(['d', 'l'])
  expect(readFileSync(join(state, 'l'), 'utf8')).toBe('deep')
})

test('a damaged byte in the journal is found and everything from there on is dropped', async () => {
  const { store, state, base } = await openStore()
  await take(store, frameOf(1, file('a', 'one')))
  await take(store, frameOf(2, file('b', 'two')))
  await store.close()
  const path = join(base, 'data', 'journal')
  const bytes = readFileSync(path)
  const at = bytes.length - 1
  bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(path, bytes)
  await openStore(base)
  expect(content(state)).toEqual({ a: 'one' })
})

test('metadata arrives: mode, and time to the microsecond', async () => {
  const { store, state } = await openStore()
  await take(
    store,
    frameOf(1, [{ kind: 'file', root: 0, path: 'a', meta: meta(0o640), size: 0, fresh: false }]),
  )
  await store.commit(true)
  const stat = lstatSync(join(state, 'a'), { bigint: true })
  expect(Number(stat.mode) & 0o7777).toBe(0o640)
  expect(stat.mtimeNs / 1000n).toBe(1_700_000_000_123_456n)
})

test('what is discarded is moved aside, not deleted', async () => {
  const { store, state, base } = await openStore()
  await take(store, frameOf(1, file('a', 'precious')))
  await store.commit(true)
  await store.discard('then')
  expect(readdirSync(state)).toEqual([])
  expect(readFileSync(join(base, 'data/discarded/then/0/a'), 'utf8')).toBe('precious')
})

test('nothing is written through a symlink that somebody put in the way', async () => {
  const { store, state, base } = await openStore()
  mkdirSync(join(base, 'outside'))
  symlinkSync(join(base, 'outside'), join(state, 'door'))
  await take(store, frameOf(1, file('door/evil', 'x')))
  await expect(store.commit(true)).rejects.toThrow('which is not a directory')
  expect(existsSync(join(base, 'outside/evil'))).toBe(false)
})

test('a file that is a symlink on disk is replaced, and what it led to is untouched', async () => {
  const { store, state, base } = await openStore()
  writeFileSync(join(base, 'victim'), 'safe')
  symlinkSync(join(base, 'victim'), join(state, 'a'))
  await take(store, frameOf(1, file('a', 'mine')))
  await store.commit(true)
  expect(readFileSync(join(base, 'victim'), 'utf8')).toBe('safe')
  expect(lstatSync(join(state, 'a')).isFile()).toBe(true)
})

test.each<[string, Op[]]>([
  ['a root that is not there', [{ kind: 'remove', root: 7, path: 'a' }]],
  [
    'bytes beyond the end',
    [...file('a', 'x'), { kind: 'write', root: 0, path: 'a', offset: 4096, bytes: Buffer.from('y') }],
  ],
  ['a write into nothing', [{ kind: 'write', root: 0, path: 'none', offset: 0, bytes: Buffer.from('y') }]],
  [
    'a write off the page',
    [...file('a', 'xyz'), { kind: 'write', root: 0, path: 'a', offset: 1, bytes: Buffer.from('y') }],
  ],
])('%s is refused', (_, ops) => {
  const state = scratch()
  const applier = createApplier(createStateRoots([state]), new StateTree(), noXattrs)
  expect(() => applier.apply(ops)).toThrow()
})

test('a frame whose body or header was changed does not pass', async () => {
  const { frame } = frameOf(1, file('a', 'z'.repeat(5000)))
  for (const at of [3, 11, 19, 40, frame.length - 1]) {
    const bad = Buffer.from(frame)
    bad[at] = (bad[at] ?? 0) ^ 1
    expect(() => checkFrame(bad)).toThrow()
  }
})

test.each(['zstd', 'deflate'] as const)(
  'a body that unpacks to more than its header says is refused (%s)',
  async (codec) => {
    const body = new Uint8Array(4 * 1024 * 1024)
    const bomb = packFrame(
      { type: FrameType.batch, epoch: 1, seq: 1, flags: FrameFlag.last, body },
      createCompressor([codec], () => 0),
    )
    const header = checkFrame(bomb)
    expect(bomb.length).toBeLessThan(100_000)
    expect(unpackBody(bomb, header)).toEqual(Buffer.from(body))
    for (const rawBytes of [100, body.length - 1, body.length + 1])
      expect(() => unpackBody(bomb, { ...header, rawBytes })).toThrow(
        `does not decompress to ${rawBytes} bytes`,
      )
  },
)

test.skipIf(!canMount)(
  'a full disk refuses the batch, keeps the old state, and goes on when there is room (skipped where nothing may be mounted)',
  async () => {
    const base = scratch()
    mountSmallDisk(base, 24)
    cleanups.push(() => unmountDisk(base))
    const { store, state } = await openStore(base)
    await take(store, frameOf(1, file('a', 'old')))
    await store.commit(true)
    const filler = join(base, 'filler')
    writeFileSync(filler, Buffer.alloc(6 * 1024 * 1024))
    const big = frameOf(2, file('a', 'n'.repeat(3 * 1024 * 1024)))
    await expect(take(store, big)).rejects.toMatchObject({ code: 'disk_full', retryable: true })
    await store.commit(true)
    expect(content(state)).toEqual({ a: 'old' })
    truncateSync(filler, 0)
    await store.dropPartial()
    await take(store, big)
    await store.commit(true)
    expect(content(state).a).toHaveLength(3 * 1024 * 1024)
  },
)

test.skipIf(!canMount)(
  'without room to put a group in place it waits in the journal, through a restart too (skipped where nothing may be mounted)',
  async () => {
    const base = scratch()
    mountSmallDisk(base, 24)
    cleanups.push(() => unmountDisk(base))
    const { store, state } = await openStore(base)
    await store.markWhole()
    const size = 3 * 1024 * 1024
    await take(store, frameOf(1, [...file('a', 'new'), ...file('b', 'n'.repeat(size))]))
    // Somebody else fills the disk after there was room for it.
    const filler = join(base, 'filler')
    fill(filler)
    await expect(store.commit(true)).rejects.toMatchObject({ code: 'disk_full' })
    expect(store.whole).toBe(false)
    await expect(take(store, frameOf(2, file('c', 'x')))).rejects.toMatchObject({ code: 'disk_full' })
    await expect(store.dropPartial()).rejects.toMatchObject({ code: 'disk_full' })
    await store.close()

    const again = await openStore(base)
    expect(again.store.whole).toBe(false)
    rmSync(filler)
    await again.store.dropPartial()
    expect(again.store.whole).toBe(true)
    expect(content(state)).toEqual({ a: 'new', b: 'n'.repeat(size) })
  },
)

function fill(path: string): void {
  try {
    for (;;) appendFileSync(path, Buffer.alloc(64 * 1024))
  } catch {
    // Full.
  }
}
