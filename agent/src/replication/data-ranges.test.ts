import {
  chmodSync,
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { dataRanges, findsHoles, rangesIn } from './data-ranges.ts'
import { hashFile } from './file-content.ts'
import { hashPages, pageCount } from './page-hash.ts'
import { scratch } from './testing.ts'

const MIB = 1024 * 1024
const NO_PAGES = new BigUint64Array(0)

/** A hole of so many bytes, with something written at some places. */
function sparse(size: number, writes: readonly (readonly [at: number, text: string])[]): string {
  const path = join(scratch(), 'sparse')
  const fd = openSync(path, 'w')
  ftruncateSync(fd, size)
  for (const [at, text] of writes) writeSync(fd, text, at)
  closeSync(fd)
  return path
}

async function rangesOf(path: string, size: number, program?: string) {
  const fd = openSync(path, 'r')
  try {
    return await dataRanges(fd, size, program)
  } finally {
    closeSync(fd)
  }
}

/** As if the file had no holes. */
function hashesByReading(path: string): bigint[] {
  const bytes = readFileSync(path)
  const pages = new BigUint64Array(pageCount(bytes.length))
  hashPages(bytes, pages, 0)
  return [...pages]
}

/** Bytes that this process has read from anything, by the kernel's count. */
const bytesRead = (): number => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])

test('the parts that hold something are found, at any place', async () => {
  const size = 64 * MIB + 777
  const path = sparse(size, [
    [0, 'begin'],
    [32 * MIB + 5, 'middle'],
    [size - 3, 'end'],
  ])
  expect(await rangesOf(path, size)).toEqual([
    [0, PAGE_BYTES],
    [32 * MIB, 32 * MIB + PAGE_BYTES],
    [64 * MIB, size],
  ])
  expect(await rangesOf(sparse(64 * MIB, []), 64 * MIB)).toEqual([])
  const full = join(scratch(), 'full')
  writeFileSync(full, 'x'.repeat(10_000))
  expect(await rangesOf(full, 10_000)).toEqual([[0, 10_000]])
})

test('a file in many pieces is known whole', async () => {
  const places = Array.from({ length: 2000 }, (_, index) => index * 8 * PAGE_BYTES)
  const path = sparse(
    64 * MIB,
    places.map((at) => [at, 'x']),
  )
  expect(await rangesOf(path, 64 * MIB)).toEqual(places.map((at) => [at, at + PAGE_BYTES]))
})

test('of one that grew meanwhile what was asked for is told, of one that shrank nothing', async () => {
  const path = sparse(64 * MIB, [[0, 'begin']])
  expect(await rangesOf(path, 32 * MIB)).toEqual([[0, PAGE_BYTES]])
  expect(await rangesOf(path, 65 * MIB)).toBeUndefined()
})

test('without the program nobody is asked again, and another tar is of no use', async () => {
  const path = sparse(64 * MIB, [[0, 'begin']])
  expect(await rangesOf(path, 64 * MIB, 'no-such-tar')).toBeUndefined()
  const other = join(scratch(), 'tar')
  writeFileSync(other, '#!/bin/sh\necho "unrecognized option" >&2\nexit 64\n')
  chmodSync(other, 0o755)
  expect(await rangesOf(path, 64 * MIB, other)).toBeUndefined()
  const talker = join(scratch(), 'talks')
  writeFileSync(talker, '#!/bin/sh\nhead -c 100000 /dev/zero\n')
  chmodSync(talker, 0o755)
  expect(await rangesOf(path, 64 * MIB, talker)).toBeUndefined()
  expect([findsHoles('no-such-tar'), findsHoles(other), findsHoles()]).toEqual([false, false, true])
})

test('a map that is no map is refused', () => {
  const head = (map: string) => `22 GNU.sparse.size=100000\n30 GNU.sparse.map=${map}\n`
  expect(rangesIn(head('0,4096,8192,4096,100000,0'), 100_000)).toEqual([
    [0, 4096],
    [8192, 12_288],
  ])
  expect(rangesIn(head('8192,4096,0,4096'), 100_000)).toBeUndefined()
  expect(rangesIn(head('0,99999999999999999999'), 100_000)).toBeUndefined()
  expect(rangesIn('30 GNU.sparse.map=0,4096\n', 100_000)).toBeUndefined()
})

test('the hashes are those of reading everything, whatever was written where', async () => {
  const writes = fc.array(
    fc.tuple(fc.nat(40 * MIB), fc.constantFrom('x', 'y'.repeat(9000), '\0'.repeat(5000))),
    { maxLength: 8 },
  )
  await fc.assert(
    fc.asyncProperty(writes, fc.nat(5000), async (places, odd) => {
      const path = sparse(40 * MIB + odd, places)
      const { size, pages } = await hashFile(Buffer.from(path), 0, NO_PAGES)
      const expected = hashesByReading(path)
      expect([...pages.subarray(0, pageCount(size))]).toEqual(expected)
      // Only what came after the first half.
      const from = Math.floor(expected.length / 2)
      const known = BigUint64Array.from(expected.slice(0, from))
      const again = await hashFile(Buffer.from(path), from, known)
      expect([...again.pages.subarray(0, expected.length)]).toEqual(expected)
    }),
    { numRuns: 15 },
  )
})

test('holes are not read', async () => {
  const path = sparse(1024 * MIB, [
    [0, 'begin'],
    [512 * MIB, 'middle'],
  ])
  const before = bytesRead()
  const { size } = await hashFile(Buffer.from(path), 0, NO_PAGES)
  expect(size).toBe(1024 * MIB)
  expect(bytesRead() - before).toBeLessThan(4 * MIB)
})
