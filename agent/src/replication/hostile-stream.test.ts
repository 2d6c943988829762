import { execFileSync } from 'node:child_process'
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { isAppError } from '@understudy/shared/core/app-error'
import { millis } from '@understudy/shared/core/time'
import type { Metadata, Op } from '@understudy/shared/protocol/replication'
import { expect, test } from 'vitest'
import { createApplier } from './applier.ts'
import { createStateRoots } from './state-files.ts'
import { addToTree, StateTree } from './state-tree.ts'
import { noXattrs, pair, REPLICA, scratch, until } from './testing.ts'
import { digestOfRanges } from './verification.ts'

/** What a primary that has been taken over could send, and what somebody could do to a replica's disk meanwhile. */

const meta = (mode = 0o644): Metadata => ({ mode, uid: 0, gid: 0, mtimeMicros: 0, xattrs: '' })
const named = (path: string) => ({ root: 0, path })
const directory = (path: string): Op => ({ kind: 'dir', ...named(path), meta: meta(0o755) })
const file = (path: string, text = 'evil'): Op[] => [
  { kind: 'file', ...named(path), meta: meta(), size: text.length, fresh: false },
  { kind: 'write', ...named(path), offset: 0, bytes: Buffer.from(text) },
]

/** A state directory beside something that must stay as it is. */
function replica() {
  const base = scratch()
  const [state, outside] = [join(base, 'state'), join(base, 'outside')]
  mkdirSync(state)
  mkdirSync(outside)
  writeFileSync(join(outside, 'victim'), 'safe')
  const roots = createStateRoots([state])
  const applier = createApplier(roots, new StateTree(), noXattrs)
  const untouched = () => {
    expect(readdirSync(outside)).toEqual(['victim'])
    expect(readFileSync(join(outside, 'victim'), 'utf8')).toBe('safe')
    expect(lstatSync(join(outside, 'victim'))).toMatchObject({ nlink: 1 })
  }
  return { state, outside, roots, applier, untouched }
}

test('nothing is written below a symlink that came in the stream', () => {
  const { state, outside, applier, untouched } = replica()
  applier.apply([{ kind: 'symlink', ...named('door'), meta: meta(), target: outside }])
  for (const ops of [file('door/new'), file('door/victim'), [directory('door/d')]])
    expect(() => applier.apply(ops)).toThrow('which is not a directory')
  expect(() => applier.apply([{ kind: 'remove', ...named('door/victim') }])).toThrow('not a directory')
  expect(existsSync(join(state, 'door/victim'))).toBe(true)
  untouched()
})

test('nothing is written below a symlink that somebody put in the place of a directory that came before', () => {
  const { state, outside, applier, untouched } = replica()
  applier.apply([directory('d'), ...file('d/a', 'fine')])
  rmSync(join(state, 'd'), { recursive: true })
  symlinkSync(outside, join(state, 'd'))
  for (const ops of [file('d/new'), [directory('d/e')], [{ kind: 'remove' as const, ...named('d/victim') }]])
    expect(() => applier.apply(ops)).toThrow('which is not a directory')
  untouched()
})

test('a directory that becomes a symlink within one batch leads nowhere', () => {
  const { outside, applier, untouched } = replica()
  const swap: Op[] = [
    directory('d'),
    ...file('d/a', 'fine'),
    { kind: 'symlink', ...named('d'), meta: meta(), target: outside },
  ]
  expect(() => applier.apply([...swap, ...file('d/new')])).toThrow('which is not a directory')
  untouched()
})

test('a directory that becomes a symlink to itself keeps nothing from being synced', async () => {
  const { state, applier } = replica()
  applier.apply([directory('d'), directory('d/e'), ...file('d/e/a', 'fine')])
  applier.apply([{ kind: 'symlink', ...named('d'), meta: meta(), target: 'd' }, ...file('b', 'fine')])
  await applier.sync()
  applier.apply([directory('d'), ...file('d/e', 'fine')])
  await applier.sync()
  expect(readFileSync(join(state, 'd/e'), 'utf8')).toBe('fine')
})

test('a file that somebody has replaced by a symlink is not written through, nor is its mode changed', () => {
  const { state, outside, applier, untouched } = replica()
  applier.apply(file('a', 'fine'))
  rmSync(join(state, 'a'))
  symlinkSync(join(outside, 'victim'), join(state, 'a'))
  const mode = lstatSync(join(outside, 'victim')).mode
  expect(() =>
    applier.apply([{ kind: 'write', ...named('a'), offset: 0, bytes: Buffer.from('evil') }]),
  ).toThrow()
  applier.apply([{ kind: 'file', ...named('a'), meta: meta(0o777), size: 4, fresh: false }])
  expect(lstatSync(join(outside, 'victim')).mode).toBe(mode)
  untouched()
})

test.each<[string, (outside: string) => Op[]]>([
  ['a symlink', (outside) => [{ kind: 'symlink', ...named('x'), meta: meta(), target: `${outside}/victim` }]],
  ['a directory', () => [directory('x')]],
  ['nothing', () => []],
  ['itself', () => file('y')],
])('a hard link to %s is refused', (what, prepare) => {
  const { outside, applier, untouched } = replica()
  applier.apply(prepare(outside))
  const target = named(what === 'itself' ? 'y' : 'x')
  expect(() => applier.apply([{ kind: 'link', ...named('y'), target }])).toThrow('which is no file')
  untouched()
})

test('a hard link to a file that lies behind a symlink is refused', () => {
  const { state, outside, applier, untouched } = replica()
  symlinkSync(outside, join(state, 'door'))
  const link: Op = { kind: 'link', ...named('mine'), target: named('door/victim') }
  expect(() => applier.apply([link])).toThrow('which is not a directory')
  untouched()
})

test('a hard link to another root that is not there is refused', () => {
  const { applier } = replica()
  applier.apply(file('a'))
  const link: Op = { kind: 'link', ...named('b'), target: { root: 9, path: 'a' } }
  expect(() => applier.apply([link])).toThrow('no state directory number 9')
})

test('a pipe that somebody put in the place of a file is neither waited for nor filled', () => {
  const { state, applier } = replica()
  applier.apply(file('a', 'fine'))
  rmSync(join(state, 'a'))
  execFileSync('mkfifo', [join(state, 'a')])
  const bytes = Buffer.alloc(200_000, 1)
  const long: Op = { kind: 'file', ...named('a'), meta: meta(), size: bytes.length, fresh: false }
  applier.apply([long, { kind: 'write', ...named('a'), offset: 0, bytes }])
  expect(lstatSync(join(state, 'a')).isFile()).toBe(true)
})

test('what is to be verified is read from regular files below the state directories only', async () => {
  const { state, outside, roots } = replica()
  symlinkSync(outside, join(state, 'door'))
  symlinkSync(join(outside, 'victim'), join(state, 'link'))
  execFileSync('mkfifo', [join(state, 'pipe')])
  writeFileSync(join(state, 'file'), 'safe')
  expect(await digestOfRanges([[0, 'file', 0, 4]], roots)).toHaveLength(64)
  for (const path of ['door/victim', 'link', 'pipe', 'none'])
    expect(await digestOfRanges([[0, path, 0, 4]], roots)).toBeUndefined()
  expect(await digestOfRanges([[7, 'file', 0, 4]], roots)).toBeUndefined()
  expect(await digestOfRanges([[0, 'file', 0, 1e9]], roots)).toBeUndefined()
})

test.each([2 ** 53 - 1, 2 ** 50])('a file that claims %d bytes is refused, and takes no memory', (size) => {
  const { applier } = replica()
  const before = process.memoryUsage().arrayBuffers
  const claim: Op = { kind: 'file', ...named('a'), meta: meta(), size, fresh: true }
  expect(() => applier.apply([claim])).toThrow('too many for the memory here')
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6)
})

test('a manifest takes memory for the pages that it shows, whatever size it claims', () => {
  const tree = new StateTree()
  const claim = (pageFrom: number, count: number) =>
    addToTree(tree, {
      kind: 'file',
      ...named('a'),
      meta: meta(),
      size: 2 ** 52,
      pageFrom,
      pages: new BigUint64Array(count),
    })
  claim(0, 3)
  expect(tree.file('0/a')?.pages).toHaveLength(3)
  claim(3, 2)
  expect(() => claim(2 ** 31, 0)).toThrow('without the one before')
  expect(() => claim(2 ** 31, 1)).toThrow('without the one before')
})

test('sockets, pipes and devices are not replicated, and what they replace is removed', async () => {
  const { from, to, primary, replica, follow } = await pair()
  for (const name of ['pipe', 'device', 'kept']) writeFileSync(join(from, name), name)
  follow()
  await until(() => replica.whole)
  await primary.seal(REPLICA, millis(20_000), false)
  expect(readdirSync(to).sort()).toEqual(['device', 'kept', 'pipe'])
  for (const name of ['pipe', 'device']) rmSync(join(from, name))
  execFileSync('mkfifo', [join(from, 'pipe')])
  let devices = true
  try {
    execFileSync('mknod', [join(from, 'device'), 'c', '1', '5'], { stdio: 'ignore' })
  } catch {
    // Only root may.
    devices = false
  }
  linkSync(join(from, 'pipe'), join(from, 'pipe again'))
  await primary.seal(REPLICA, millis(20_000), false)
  expect(readdirSync(to)).toEqual(['kept'])
  expect(existsSync(join(from, 'device'))).toBe(devices)
  renameSync(join(from, 'kept'), join(from, 'pipe'))
  await primary.seal(REPLICA, millis(20_000), false)
  expect(readFileSync(join(to, 'pipe'), 'utf8')).toBe('kept')
})

test('what is refused is a protocol error, so that the connection ends and nothing else', () => {
  const { applier } = replica()
  try {
    applier.apply(file('no/parent'))
    expect.unreachable()
  } catch (error) {
    expect(isAppError(error, 'protocol')).toBe(true)
  }
})
