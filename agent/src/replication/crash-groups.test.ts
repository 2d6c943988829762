import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FrameFlag, type Op } from '@understudy/shared/protocol/replication'
import { encodeXattrs } from '@understudy/shared/protocol/xattrs'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { openJournal } from './journal.ts'
import { openReceiverStore } from './receiver-store.ts'
import { createStateRoots } from './state-files.ts'
import { frameOf, noXattrs, scratch, take } from './testing.ts'
import { withoutXattrs } from './testing-edits.ts'
import { openXattrs, type Xattrs } from './xattrs.ts'

/** Crashes between groups that make names of one file, or set extended attributes. */

const log = pino({ level: 'silent' })
const meta = (xattrs = '') => ({ mode: 0o644, uid: 0, gid: 0, mtimeMicros: 1_700_000_000_000_000, xattrs })
const file = (path: string, text: string, fresh = true): Op[] => [
  { kind: 'file', root: 0, path, meta: meta(), size: text.length, fresh },
  { kind: 'write', root: 0, path, offset: 0, bytes: Buffer.from(text) },
]
const link = (path: string, target: string): Op => ({
  kind: 'link',
  root: 0,
  path,
  target: { root: 0, path: target },
})

function directory(): string {
  const base = scratch()
  mkdirSync(join(base, 'state'))
  return base
}

/** What a crash would leave behind at this moment. */
function crashed(base: string): string {
  const copy = scratch()
  // Unlike cpSync it keeps files with several names as such.
  execFileSync('cp', ['-a', `${base}/.`, copy])
  return copy
}

async function open(base: string, xattrs: Xattrs = noXattrs) {
  const store = await openReceiverStore(
    createStateRoots([join(base, 'state')]),
    join(base, 'data'),
    xattrs,
    log,
  )
  onTestFinished(() => store.close())
  return store
}

const read = (base: string, name: string) => readFileSync(join(base, 'state', name), 'utf8')
const inode = (base: string, name: string) => statSync(join(base, 'state', name)).ino

test('what was written into two files before they became one is not written again over the one', async () => {
  const base = directory()
  const store = await open(base)
  await store.markWhole()
  const groups: Op[][] = [
    [...file('a', 'first'), ...file('b', 'first')],
    [...file('a', 'of a', false), ...file('b', 'of b', false)],
    [link('b', 'a')],
    [...file('c', 'of c'), ...file('a', 'anew', false)],
    [link('c', 'a')],
  ]
  const expected = [
    { a: 'first', b: 'first' },
    { a: 'of a', b: 'of b' },
    { a: 'of a', b: 'of a' },
    { a: 'anew', b: 'anew', c: 'of c' },
    { a: 'anew', b: 'anew', c: 'anew' },
  ]
  for (const [index, ops] of groups.entries()) {
    await take(store, frameOf(index + 1, ops))
    const journaled = crashed(base)
    await store.commit(false)
    const placed = crashed(base)
    if (index === 0) await store.checkpoint()
    for (const at of [journaled, placed]) {
      const again = await open(at)
      expect(again.whole).toBe(true)
      for (const [name, text] of Object.entries(expected[index] ?? {})) expect(read(at, name)).toBe(text)
      if (index > 1) expect(inode(at, 'a')).toBe(inode(at, 'b'))
      if (index > 3) expect(inode(at, 'a')).toBe(inode(at, 'c'))
    }
  }
})

test('a group of several batches with a link in the last is put in place as a whole after a crash, or not at all', async () => {
  const base = directory()
  const store = await open(base)
  await take(store, frameOf(1, [...file('a', 'old a'), ...file('b', 'old b')]))
  await store.commit(true)
  await store.markWhole()
  await take(store, frameOf(2, file('a', 'new a', false), 0))
  await take(store, frameOf(3, file('d', 'new d'), 0))
  const before = await open(crashed(base))
  expect(before.whole).toBe(true)
  await take(store, frameOf(4, [link('b', 'a')]))
  const journaled = crashed(base)
  await store.commit(false)
  for (const at of [journaled, crashed(base)]) {
    await open(at)
    expect(['a', 'b', 'd'].map((name) => read(at, name))).toEqual(['new a', 'new a', 'new d'])
    expect(inode(at, 'a')).toBe(inode(at, 'b'))
  }
})

test('a journal of which the beginning is dropped holds the rest, whatever is left behind by a crash', async () => {
  const path = join(scratch(), 'journal')
  const { journal } = await openJournal(path)
  const entries = []
  for (const seq of [1, 2, 3]) {
    const { frame, header } = frameOf(seq, file('a', `${seq}`.repeat(2000)))
    entries.push({ frame, entry: await journal.append(frame, header) })
  }
  const [, second, third] = entries
  if (!second || !third) throw new Error('no entries')
  await journal.dropBefore(second.entry)
  await journal.dropBefore(second.entry)
  expect(journal.bytes).toBe(second.frame.length + third.frame.length)
  for (const { frame, entry } of [second, third])
    expect(Buffer.compare(await journal.read({ ...entry, frame: undefined }), frame)).toBe(0)
  const { frame, header } = frameOf(4, file('a', 'four'))
  const fourth = await journal.append(frame, header)
  expect(Buffer.compare(await journal.read({ ...fourth, frame: undefined }), frame)).toBe(0)
  await journal.sync()
  await journal.close()

  // The next one was not finished.
  writeFileSync(`${path}.next`, third.frame.subarray(0, 100))
  const again = await openJournal(path)
  expect(again.groups.map(([entry]) => entry?.header.seq)).toEqual([2, 3, 4])
  const [group] = again.groups[1] ?? []
  if (!group) throw new Error('no group')
  await again.journal.dropBefore(group)
  await again.journal.close()
  // It was torn at its end.
  writeFileSync(path, readFileSync(path).subarray(0, -1))
  const last = await openJournal(path)
  expect(last.groups.map(([entry]) => entry?.header.seq)).toEqual([3])
  await last.journal.close()
})

test.skipIf(withoutXattrs !== undefined)(
  `attributes that a crash kept from being set are set at the next start (skipped without the package attr)`,
  async () => {
    const tools = await openXattrs(log)
    const base = directory()
    const crashes: string[] = []
    const crashing: Xattrs = {
      ...tools,
      async writeAll(entries) {
        crashes.push(crashed(base))
        const answers = await tools.writeAll(entries)
        crashes.push(crashed(base))
        return answers
      },
    }
    const store = await open(base, crashing)
    await store.markWhole()
    const attributes = (value: string) => encodeXattrs([{ name: 'user.note', value }])
    const ops = (value: string): Op[] => [
      { kind: 'file', root: 0, path: 'a', meta: meta(attributes(value)), size: 0, fresh: false },
      { kind: 'dir', root: 0, path: 'd', meta: { ...meta(attributes(value)), mode: 0o755 } },
    ]
    await take(store, frameOf(1, ops('one')))
    await store.commit(true)
    await take(store, frameOf(2, ops('two'), 0))
    await take(store, frameOf(3, [...file('b', 'x'), link('c', 'a')], FrameFlag.last))
    await store.commit(true)
    expect(crashes).toHaveLength(4)
    for (const [index, at] of crashes.entries()) {
      const again = await open(at, tools)
      expect(again.whole).toBe(true)
      const names = ['a', 'd', ...(index >= 2 ? ['c'] : [])]
      const found = await tools.read(names.map((name) => Buffer.from(join(at, 'state', name))))
      expect(found).toEqual(names.map(() => attributes(index >= 2 ? 'two' : 'one')))
    }
  },
)
