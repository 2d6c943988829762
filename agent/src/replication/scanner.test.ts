import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock } from '@understudy/shared/core/time'
import { afterEach, expect, test } from 'vitest'
import { createScanner } from './scanner.ts'
import { createStateRoots } from './state-files.ts'
import { type Entry, treeDigest } from './state-tree.ts'
import { noXattrs, until } from './testing.ts'

const cleanups: (() => void)[] = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup()
})

function bench(clock = systemClock) {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-scan-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  const seen: string[][] = []
  const scanner = createScanner({
    roots: createStateRoots([directory]),
    clock,
    xattrs: noXattrs,
    onLook: (changed) => seen.push([...changed]),
  })
  cleanups.push(() => scanner.stop())
  return { directory, scanner, seen }
}

const pages = (entry: Entry | undefined) => (entry?.kind === 'file' ? [...entry.pages] : undefined)

test('two looks at the same tree are the same', async () => {
  const { directory, scanner } = bench()
  mkdirSync(join(directory, 'd'))
  writeFileSync(join(directory, 'd/a'), Buffer.alloc(10_000, 1))
  await scanner.full()
  const before = treeDigest(scanner.tree)
  await scanner.exact()
  expect(treeDigest(scanner.tree)).toBe(before)
})

test('a change that leaves size and time alone is found before a hand-over', async () => {
  const { directory, scanner } = bench()
  const path = join(directory, 'a')
  writeFileSync(path, Buffer.alloc(20_000, 1))
  utimesSync(path, 1_700_000_000, 1_700_000_000)
  await scanner.full()
  const before = pages(scanner.tree.get('0/a'))
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.from([2]), 0, 1, 9000)
  utimesSync(path, 1_700_000_000, 1_700_000_000)
  await scanner.exact()
  const after = pages(scanner.tree.get('0/a'))
  expect(after?.[2]).not.toBe(before?.[2])
  expect(after?.[0]).toBe(before?.[0])
})

test('a write in the middle of a file that also grew is found before a hand-over', async () => {
  const { directory, scanner } = bench()
  const path = join(directory, 'log')
  writeFileSync(path, Buffer.alloc(3_000_000, 1))
  await scanner.full()
  const before = pages(scanner.tree.get('0/log'))
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.from([9]), 0, 1, 5000)
  appendFileSync(path, 'more')
  await scanner.full()
  await scanner.exact()
  const after = pages(scanner.tree.get('0/log'))
  expect(after?.[1]).not.toBe(before?.[1])
  expect(after?.[0]).toBe(before?.[0])
})

test('a watcher that says nothing costs time, not truth: the next scan finds the change', async () => {
  const { directory, scanner } = bench()
  await scanner.full()
  writeFileSync(join(directory, 'quiet'), 'x')
  await scanner.full()
  expect(scanner.tree.has('0/quiet')).toBe(true)
})

/** Scans, which come every second at the most, never come: what is seen was seen at once. */
const withoutScans: Clock = {
  ...systemClock,
  timer: (delay, fire) => (delay < 1000 ? systemClock.timer(delay, fire) : () => undefined),
}

test('a running scanner notices within moments', async () => {
  const { directory, scanner, seen } = bench(withoutScans)
  scanner.start()
  await scanner.full()
  writeFileSync(join(directory, 'a'), 'x')
  await until(() => seen.flat().includes('0/a'))
})

test('a directory that appears with everything in it comes whole', async () => {
  const { directory, scanner } = bench()
  scanner.start()
  await scanner.full()
  mkdirSync(join(directory, 'x/y/z'), { recursive: true })
  writeFileSync(join(directory, 'x/y/z/deep'), 'here')
  await until(() => scanner.tree.has('0/x/y/z/deep'))
})
