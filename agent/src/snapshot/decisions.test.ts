import { mono, seconds } from '@understudy/shared/core/time'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createCutter, cutByName, reasonForBase, superfluous } from './chain.ts'
import { newestFirst } from './snapshot-format.ts'
import { parseLocation } from './store-location.ts'
import { type Moment, whenToTake } from './when.ts'

/** What is decided about snapshots, without any. */

const habits = { interval: seconds(300), always: false }
const quiet: Moment = {
  primary: true,
  attached: 0,
  noticed: false,
  takenAt: mono(0),
  triedAt: mono(0),
  failures: 0,
  worse: false,
}

test.each<[string, Partial<Moment>, number, string]>([
  ['a replica', { primary: false }, 1e9, 'not'],
  ['a primary with an attached replica', { attached: 1 }, 1e9, 'not'],
  ['a primary without any snapshot yet', { takenAt: undefined, triedAt: undefined }, 0, 'now'],
  ['one that is not due', {}, 299_999, 'later'],
  ['one that is due', {}, 300_000, 'now'],
  ['the last replica gone', { worse: true }, 1, 'now'],
  ['a notice, right after the last one', { noticed: true }, 9_999, 'later'],
  ['a notice, ten seconds after', { noticed: true }, 10_000, 'now'],
  ['a first failure', { failures: 1 }, 4_999, 'later'],
  ['a first failure, five seconds after', { failures: 1 }, 5_000, 'now'],
  ['a third failure', { failures: 3 }, 19_999, 'later'],
  ['failures for hours', { failures: 40 }, 300_000, 'now'],
])('%s: %j at %i is %s', (_, moment, now, expected) => {
  expect(whenToTake({ ...quiet, ...moment }, habits, mono(now)).kind).toBe(expected)
})

test('a replica keeps no snapshot from being made when they always are', () => {
  expect(whenToTake({ ...quiet, attached: 2 }, { ...habits, always: true }, mono(300_000)).kind).toBe('now')
})

test('every name is in one group, and what was cut elsewhere is cut the same again soon', () => {
  const sizes = fc.dictionary(fc.string({ minLength: 1, maxLength: 6 }), fc.nat(9 * 1024 * 1024), {
    maxKeys: 60,
  })
  fc.assert(
    fc.property(sizes, (files) => {
      const keys = Object.keys(files).map((name) => `0/${name}`)
      const groups = [...cutByName(keys, (key) => files[key.slice(2)] ?? 0)]
      expect(groups.flat()).toEqual([...keys].sort())
    }),
  )
})

test('a name more moves only the cuts near it', () => {
  const names = Array.from({ length: 5000 }, (_, index) => `0/file-${String(index).padStart(5, '0')}`)
  const cutsOf = (keys: readonly string[]) => {
    const endsHere = createCutter(50, 5000)
    return keys.filter((key) => endsHere(key, 1))
  }
  const before = cutsOf(names)
  const after = cutsOf([...names.slice(0, 10), '0/file-00009-more', ...names.slice(10)])
  const same = after.filter((key) => before.includes(key)).length
  expect(before.length).toBeGreaterThan(20)
  expect(same).toBeGreaterThan(before.length - 5)
})

test('the epoch decides what is newest, then the number; times never do', () => {
  const name = (epoch: number, seq: number, year: number) => ({
    id: `${year}-${epoch}-${seq}`,
    takenAt: new Date(Date.UTC(year, 0)),
    epoch,
    seq,
  })
  const names = [name(4, 99, 2099), name(5, 1, 2020), name(5, 2, 2019), name(3, 500, 2100)]
  expect(newestFirst(names).map(({ epoch, seq }) => [epoch, seq])).toEqual([
    [5, 2],
    [5, 1],
    [4, 99],
    [3, 500],
  ])
  expect(superfluous(names, 2).map(({ epoch }) => epoch)).toEqual([4, 3])
  expect(superfluous(names, 0)).toHaveLength(3)
})

test('a chain goes on until it is too large, too long, or of another layout', () => {
  const pack = (mib: number) => ({ sha256: 'a'.repeat(64), bytes: 1, raw_bytes: mib * 1024 * 1024 })
  const last = (packs: number, mib: number) => ({
    packs: Array.from({ length: packs }, () => pack(mib)),
    directories: ['/a'],
  })
  const state = 100 * 1024 * 1024
  expect(reasonForBase(undefined, 1, state)).toContain('no snapshot')
  expect(reasonForBase(last(10, 10), 1, state)).toBeUndefined()
  expect(reasonForBase(last(10, 26), 1, state)).toBeUndefined()
  expect(reasonForBase(last(10, 27), 1, state)).toContain('twice')
  expect(reasonForBase(last(1100, 0), 1, state)).toContain('too many')
  expect(reasonForBase(last(1, 1), 2, state)).toContain('1 state directories')
})

test.each([
  ['/mnt/x', { kind: 'directory', path: '/mnt/x' }],
  ['file:///mnt/x', { kind: 'directory', path: '/mnt/x' }],
  ['s3://bucket', { kind: 's3', bucket: 'bucket', prefix: '' }],
  ['s3://my.bucket-1/a/b/', { kind: 's3', bucket: 'my.bucket-1', prefix: 'a/b' }],
])('the place %s is understood', (text, expected) => {
  expect(parseLocation(text)).toEqual(expected)
})

test.each([
  'bucket',
  's3://',
  's3://UPPER/x',
  's3://key:secret@bucket/x',
  's3://bucket/../x y',
  'file://host/x',
  'https://x',
])('the place %s is refused with what to write instead', (text) => {
  expect(() => parseLocation(text)).toThrow(
    expect.objectContaining({ code: 'input_invalid', hint: expect.stringContaining('s3://bucket/prefix') }),
  )
})
