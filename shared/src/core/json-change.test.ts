import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { applyJsonChange, type Json, jsonChange } from './json-change.ts'

/** As it comes over the wire: what JSON cannot say is not there. */
const wired = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T
const json = fc.jsonValue({ maxDepth: 4 }).map((value) => wired(value) as Json)

/** A value, and the same a little later. */
const table = fc.array(
  fc.record({ id: fc.nat(9), price: fc.option(fc.nat(3)), tags: fc.array(fc.constantFrom('a', 'b')) }),
  { maxLength: 8 },
)

const becomes = (before: Json, after: Json): Json => {
  const change = jsonChange(before, after)
  return change === undefined ? before : applyJsonChange(before, wired(change))
}

describe('a change of JSON', () => {
  test('applied to what was gives what is, whatever both are', () => {
    fc.assert(
      fc.property(json, json, (before, after) => {
        expect(becomes(before, after)).toEqual(after)
      }),
    )
  })

  test('of a table whose lines come, go, move and change gives the table', () => {
    fc.assert(
      fc.property(table, table, fc.string(), (before, after, note) => {
        const [old, now] = [wired({ items: before, note }), wired({ items: after, next: note })]
        expect(becomes(old, now)).toEqual(now)
      }),
    )
  })

  test('is none exactly when nothing has changed', () => {
    fc.assert(
      fc.property(json, json, (before, after) => {
        const same = JSON.stringify(before) === JSON.stringify(after)
        expect([jsonChange(before, after) === undefined, jsonChange(before, before)]).toEqual([
          same,
          undefined,
        ])
      }),
    )
  })

  test('is never much longer than what it makes', () => {
    fc.assert(
      fc.property(json, json, (before, after) => {
        const change = jsonChange(before, after)
        const most = JSON.stringify({ set: after }).length
        expect(JSON.stringify(change ?? null).length).toBeLessThanOrEqual(most)
      }),
    )
  })

  test.each<[string, Json, Json, unknown]>([
    [
      'a key that is null',
      { a: 1, b: 'x'.repeat(50) },
      { a: null, b: 'x'.repeat(50) },
      { keys: { a: { set: null } } },
    ],
    ['a key that is gone', { a: 1, b: 'x'.repeat(50) }, { b: 'x'.repeat(50) }, { keys: {}, without: ['a'] }],
    [
      'a new first line',
      ['one line', 'another'],
      ['new', 'one line', 'another'],
      { set: ['new', 'one line', 'another'] },
    ],
    [
      'a new first line of many, the last of which falls out',
      Array.from({ length: 50 }, (_, i) => `line ${i}`),
      ['new', ...Array.from({ length: 49 }, (_, i) => `line ${i}`)],
      { list: [{ set: 'new' }, { from: 0, count: 49 }] },
    ],
    [
      'a line that changes in its place',
      [
        { id: 1, note: 'x'.repeat(90) },
        { id: 2, note: 'y'.repeat(90), at: 1 },
      ],
      [
        { id: 1, note: 'x'.repeat(90) },
        { id: 2, note: 'y'.repeat(90), at: 2 },
      ],
      {
        list: [
          { from: 0, count: 1 },
          { from: 1, change: { keys: { at: { set: 2 } } } },
        ],
      },
    ],
  ])('says of %s no more than that', (_, before, after, change) => {
    expect(jsonChange(before, after)).toEqual(change)
    expect(becomes(before, after)).toEqual(after)
  })

  test('keeps what has not changed as the object that it was', () => {
    const picture = (price: number) => ({
      pools: [
        { id: 'a'.repeat(40), price: 1 },
        { id: 'b'.repeat(40), price },
      ],
      all: { of: ['it'.repeat(40)] },
    })
    const [before, after] = [picture(2), picture(3)]
    const made = applyJsonChange(before, jsonChange(before, after) ?? { set: null }) as typeof before
    expect(made).toEqual(after)
    expect([made.all === before.all, made.pools[0] === before.pools[0]]).toEqual([true, true])
  })

  test('may be of keys that every object has', () => {
    const [before, after] = [
      JSON.parse('{"__proto__":1,"x":2}'),
      JSON.parse('{"__proto__":{"y":1},"constructor":3,"x":2}'),
    ]
    const made = becomes(before, after)
    expect(JSON.parse(JSON.stringify(made))).toEqual(after)
    expect(Object.getPrototypeOf(made)).toBe(Object.prototype)
  })
})
