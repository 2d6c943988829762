import { createHash } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { millis, systemClock } from '@understudy/shared/core/time'
import { expect, test } from 'vitest'
import { createScanner } from './scanner.ts'
import { createStateRoots } from './state-files.ts'
import { StateTree } from './state-tree.ts'
import { noXattrs, pair, REPLICA, scratch, until } from './testing.ts'
import { fullPicture } from './testing-edits.ts'
import { createVerification, digestOfRanges } from './verification.ts'

/** The rolling comparison of both disks. */

const OFTEN = { limits: { verify: { every: millis(20), share: 2 } } }

async function verified() {
  const both = await pair(undefined, undefined, OFTEN)
  const { from, primary, replica, follow } = both
  mkdirSync(join(from, 'd'))
  writeFileSync(join(from, 'd/large'), Buffer.alloc(3_000_001, 'content '))
  for (let i = 0; i < 20; i += 1) writeFileSync(join(from, `file ${i}`), `${i} `.repeat(3000))
  linkSync(join(from, 'file 1'), join(from, 'another name'))
  writeFileSync(join(from, 'empty'), '')
  follow()
  const state = () => {
    const lag = primary.lags()[0]?.lag
    if (!lag) throw new Error('no replica')
    return lag
  }
  await until(() => replica.whole && state().attached && state().verified.passes > 0)
  const passes = async (count: number) => {
    const { passes: before } = state().verified
    await until(() => state().verified.passes >= before + count)
  }
  return { ...both, state, passes }
}

/** Changes bytes, and leaves size and times as they were. */
function overwrite(path: string, at: number, text: string): void {
  const { atimeMs, mtimeMs } = statSync(path)
  const fd = openSync(path, 'r+')
  writeSync(fd, text, at)
  closeSync(fd)
  lutimesSync(path, atimeMs / 1000, mtimeMs / 1000)
}

test('two disks that are the same are found to be so, as often as is asked', async () => {
  const { state, passes } = await verified()
  const before = state().verified
  await passes(3)
  const { files, bytes, mismatches } = state().verified
  expect(mismatches).toBe(0)
  // Every name of a file, two of them at least seen to be there.
  expect(files - before.files).toBeGreaterThanOrEqual(23 * 2)
  expect(bytes - before.bytes).toBeGreaterThanOrEqual(3_000_001 * 2)
})

test.each<[string, (to: string) => unknown]>([
  ['a byte that is another', (to) => overwrite(join(to, 'file 7'), 5000, '!')],
  ['a byte in the middle of a large file', (to) => overwrite(join(to, 'd/large'), 2_500_000, '!')],
  ['a byte in a file with two names', (to) => overwrite(join(to, 'another name'), 10, '!')],
  ['a file that is gone', (to) => rmSync(join(to, 'file 3'))],
  ['an empty file that is gone', (to) => rmSync(join(to, 'empty'))],
  ['a further name that is gone', (to) => rmSync(join(to, 'file 1'))],
  [
    'both names of a file that are gone',
    (to) => [rmSync(join(to, 'file 1')), rmSync(join(to, 'another name'))],
  ],
  ['a file that is shorter', (to) => truncateSync(join(to, 'd/large'), 100_000)],
  [
    'a file that is a directory now',
    (to) => {
      rmSync(join(to, 'file 4'))
      mkdirSync(join(to, 'file 4'))
      writeFileSync(join(to, 'file 4/stray'), 'x')
    },
  ],
  [
    'several files at once',
    (to) => {
      for (let i = 0; i < 15; i += 1) rmSync(join(to, `file ${i}`))
      overwrite(join(to, 'd/large'), 0, '!!')
    },
  ],
])('%s on the replica is found, sent again and counted', async (_, damage) => {
  const { from, to, primary, replica, state, copies } = await verified()
  damage(to)
  await until(() => state().verified.mismatches > 0)
  await until(() => state().bytes === 0 && state().batches === 0)
  await primary.seal(REPLICA, millis(20_000), false)
  await until(() => state().verified.passes > 0)
  const [theirs, ours] = [await fullPicture(to), await fullPicture(from)]
  expect(theirs).toEqual(ours)
  expect(replica.whole).toBe(true)
  // Nothing of it was a reason to begin anew.
  expect(copies).toEqual([true])
})

test('after damage was healed, the next comparison finds nothing', async () => {
  const { to, state, passes } = await verified()
  overwrite(join(to, 'd/large'), 1_000_000, 'damage')
  await until(() => state().verified.mismatches > 0)
  await until(() => state().bytes === 0)
  const { mismatches } = state().verified
  await passes(3)
  expect(state().verified.mismatches).toBe(mismatches)
})

test('files that are written all the time give no false alarm', async () => {
  const { from, to, primary, state } = await verified()
  const until3s = performance.now() + 2500
  const { passes: before } = state().verified
  for (let i = 0; performance.now() < until3s || state().verified.passes === before; i += 1) {
    appendFileSync(join(from, 'log'), `line ${i}\n`.repeat(50))
    overwrite(join(from, 'd/large'), (i * 7919) % 3_000_000, String(i))
    writeFileSync(join(from, `file ${i % 20}`), `${i} `.repeat(2000))
    if (i % 5 === 0) await sleep(2)
  }
  expect(state().verified.mismatches).toBe(0)
  await primary.seal(REPLICA, millis(20_000), false)
  expect(await fullPicture(to)).toEqual(await fullPicture(from))
})

test('a change on the primary that left no trace is seen at the next look, once verification has read it', async () => {
  const state = scratch()
  const path = join(state, 'mapped')
  writeFileSync(path, Buffer.alloc(20_000, 'a'))
  const roots = createStateRoots([state])
  const scanner = createScanner({ roots, clock: systemClock, xattrs: noXattrs, onLook: () => undefined })
  scanner.start()
  await scanner.full()
  const known = () => {
    const file = scanner.tree.file('0/mapped')
    if (!file) throw new Error('not seen')
    return file
  }
  // As a write through a mapping looks before the kernel has noted it: the tree has another content, all else alike.
  // It stays once it is taken for certain that nothing can change the file without a trace.
  const unnoted = async () => {
    const pages = known().pages.slice()
    pages[2] = 1n
    scanner.tree.set('0/mapped', { ...known(), pages })
    await scanner.exact()
    return known().pages[2] === 1n
  }
  for (let tries = 0; !(await unnoted()); tries += 1) {
    if (tries === 100) throw new Error('it is read again for ever')
    await sleep(300)
  }
  const unseen = new StateTree([['0/mapped', known()]])

  const ended = new AbortController()
  const said: unknown[] = []
  const distrusted: string[] = []
  const verification = createVerification({
    ours: scanner.tree,
    theirs: unseen,
    roots,
    clock: systemClock,
    pace: { every: millis(10), share: 2 },
    quiet: async () => undefined,
    isDirty: () => false,
    seq: () => 1,
    say: (message) => said.push(message),
    onUnseen: (key) => {
      distrusted.push(key)
      scanner.distrust(key)
    },
    onMismatch: () => expect.unreachable(),
  })
  const running = verification.run(ended.signal).catch(() => undefined)
  await until(() => distrusted.length > 0)
  ended.abort()
  await running
  expect(distrusted[0]).toBe('0/mapped')
  // What our own disk does not hold is not asked of the replica.
  expect(said).toEqual([])
  await scanner.full()
  expect(scanner.tree.file('0/mapped')?.pages[2]).not.toBe(1n)
  scanner.stop()
})

test('the digest of ranges is that of their bytes, one after another, and of nothing where one is not there', async () => {
  const state = scratch()
  writeFileSync(join(state, 'a'), '0123456789')
  writeFileSync(join(state, 'b'), 'abcdef')
  const roots = createStateRoots([state])
  const expected = createHash('sha256').update('345abcdef').digest('hex')
  expect(
    await digestOfRanges(
      [
        [0, 'a', 3, 3],
        [0, 'b', 0, 6],
      ],
      roots,
    ),
  ).toBe(expected)
  expect(await digestOfRanges([[0, 'a', 8, 3]], roots)).toBeUndefined()
})
