import { execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { millis, sleep, systemClock } from '@understudy/shared/core/time'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hashAgain, hashFile } from './file-content.ts'
import { canSkipHoles, sameHoles, zerosAreHoles } from './holes.ts'
import { hashPages, pageCount, zeroPageTest } from './page-hash.ts'
import { statOf } from './state-files.ts'
import { scratch } from './testing.ts'

const MIB = 1024 * 1024
const NO_PAGES = new BigUint64Array(0)
/** Longer than a tick of the kernel's clock. */
const TICK = millis(30)

/** A hole of so many bytes with something written at some places. */
function sparse(name: string, size: number, writes: readonly (readonly [at: number, text: string])[]) {
  const path = join(scratch(), name)
  const fd = openSync(path, 'w')
  ftruncateSync(fd, size)
  for (const [at, text] of writes) writeSync(fd, text, at)
  closeSync(fd)
  return Buffer.from(path)
}

function write(path: Buffer, at: number, bytes: Buffer | string): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.from(bytes), 0, undefined, at)
  closeSync(fd)
}

/** Reads it once it has been at rest for a moment. */
async function read(path: Buffer) {
  await sleep(systemClock, TICK)
  const startedWall = systemClock.now()
  const { stat, pages } = await hashFile(path, 0, NO_PAGES)
  return { stat, pages, holes: zerosAreHoles(path, stat, pages, startedWall) }
}

test('zeros of a file that is a hole are its holes, also with a short last page', async () => {
  expect(
    (
      await read(
        sparse('even', 64 * MIB, [
          [0, 'begin'],
          [32 * MIB, 'middle'],
        ]),
      )
    ).holes,
  ).toBe(true)
  expect((await read(sparse('odd', 64 * MIB + 777, [[5 * MIB, 'x']]))).holes).toBe(true)
})

test('a page of zeros that is on the disk is no hole, and then none is taken for one', async () => {
  const path = sparse('zeros', 64 * MIB, [[0, 'begin']])
  write(path, 10 * MIB, Buffer.alloc(4096))
  expect((await read(path)).holes).toBe(false)
})

test('room that was set aside and not written to is no hole', async () => {
  const path = sparse('reserved', 64 * MIB, [[0, 'begin']])
  execFileSync('fallocate', ['-o', String(20 * MIB), '-l', String(MIB), path.toString()])
  expect((await read(path)).holes).toBe(false)
})

test('a file that has changed in this moment, or is small, is not counted', async () => {
  const path = sparse('fresh', 64 * MIB, [[0, 'begin']])
  const startedWall = systemClock.now()
  const { stat, pages } = await hashFile(path, 0, NO_PAGES)
  expect(zerosAreHoles(path, stat, pages, startedWall)).toBe(false)
  expect((await read(sparse('small', 8 * MIB, []))).holes).toBe(false)
})

test('a hole that was filled shows, also in the number of blocks, before it has a place on the disk', async () => {
  const path = sparse('filled', 64 * MIB, [[0, 'begin']])
  const before = await read(path)
  write(path, 40 * MIB, 'new')
  const now = statOf(path)
  expect(now && sameHoles(before.stat, now)).toBe(false)
  expect(now?.blocks).toBeGreaterThan(before.stat.blocks)
  expect((await hashAgain(path, before)).pages[(40 * MIB) / 4096]).not.toBe(before.pages[(40 * MIB) / 4096])
})

test('only what is no hole is read again, and what has changed there is found', async () => {
  const path = sparse('again', 64 * MIB, [
    [0, 'begin'],
    [32 * MIB, 'middle'],
    [64 * MIB - 3, 'end'],
  ])
  const before = await read(path)
  expect(before.holes).toBe(true)
  // Pages of zeros that are not read keep what is said of them, here something that nothing hashes to.
  const marked = { stat: before.stat, pages: before.pages.slice() }
  const again = await hashAgain(path, marked)
  expect(again.pages).toEqual(before.pages)
  // As a store through a memory map does: the content changes, and nothing else.
  const stale = { stat: before.stat, pages: before.pages.slice() }
  stale.pages[(32 * MIB) / 4096] = 1n
  stale.pages[pageCount(64 * MIB) - 1] = 2n
  expect((await hashAgain(path, stale)).pages).toEqual(before.pages)
  expect(statSync(path).blocks).toBe(before.stat.blocks)
})

test('what reads as zeros is told by its hash, page by page', () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { minLength: 1, maxLength: 200 }),
      fc.integer({ min: 1, max: 4096 }),
      (areZeros, last) => {
        const size = (areZeros.length - 1) * 4096 + last
        const bytes = Buffer.alloc(size)
        for (const [page, isZero] of areZeros.entries()) if (!isZero) bytes[page * 4096] = 7
        const pages = new BigUint64Array(areZeros.length + 3)
        hashPages(bytes, pages, 0)
        const isZero = zeroPageTest(pages, size)
        expect(areZeros.map((_, page) => isZero(page))).toEqual(areZeros)
      },
    ),
  )
})

test('holes are sought only on file systems that say at once what is one, and where there are many', () => {
  const path = sparse('sought', 64 * MIB, [[0, 'begin']])
  const stat = statOf(path)
  if (!stat) throw new Error('it is there')
  expect(canSkipHoles(path, stat)).toBe(true)
  expect(canSkipHoles('/proc', stat)).toBe(false)
  expect(canSkipHoles(join(scratch(), 'gone'), stat)).toBe(false)
  expect(canSkipHoles(path, { ...stat, size: 8 * MIB })).toBe(false)
})
