import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { canMount, fillDisk, mountSmallDisk, unmountDisk } from '../replication/small-disk.ts'
import { createReservedFile } from './reserved-file.ts'

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'understudy-reserved-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as unknown

test('it holds the last text, whether that is longer or shorter than the one before', () => {
  const path = join(directory(), 'file.json')
  const file = createReservedFile(path)
  for (const length of [3, 100_000, 10, 40_000, 0]) {
    const value = { text: 'x'.repeat(length) }
    file.replace(JSON.stringify(value))
    expect(read(path)).toEqual(value)
    expect(statSync(path).mode & 0o777).toBe(0o600)
  }
})

test('what an earlier process had begun to write is written over', () => {
  const path = join(directory(), 'file.json')
  writeFileSync(`${path}.next`, 'half of a longer text'.repeat(5000))
  createReservedFile(path).replace('{"a":1}')
  expect(read(path)).toEqual({ a: 1 })
})

test.skipIf(!canMount)('it can be replaced although the disk is full to the last byte', () => {
  const disk = directory()
  mountSmallDisk(disk, 1)
  onTestFinished(() => unmountDisk(disk))
  const path = join(disk, 'file.json')
  const file = createReservedFile(path)
  file.replace('{"vote":1}')
  fillDisk(disk)
  expect(() => writeFileSync(join(disk, 'more'), Buffer.alloc(4096, 1))).toThrow('ENOSPC')
  for (let vote = 2; vote < 20; vote += 1) {
    file.replace(JSON.stringify({ vote }))
    expect(read(path)).toEqual({ vote })
  }
})

test('what the last text lay on is never free for somebody else: it is what is reserved next', () => {
  const path = join(directory(), 'file.json')
  const file = createReservedFile(path)
  file.replace('{"vote":1}')
  for (let vote = 2; vote < 5; vote += 1) {
    // As long as it is open, no new file gets its number.
    const last = openSync(path, 'r')
    onTestFinished(() => closeSync(last))
    file.replace(JSON.stringify({ vote }))
    expect(statSync(`${path}.next`)).toMatchObject({ ino: fstatSync(last).ino, nlink: 1 })
    expect(read(path)).toEqual({ vote })
  }
})
