import { describe, expect, it } from 'vitest'
import { nextRow, type Press, pageKeys, readPress, type Waiting } from './shortcuts.ts'

/** Keys one after the other, each with what it changes of a plain press. */
function type(...keys: readonly (string | (Partial<Press> & { key: string }))[]) {
  let waiting: Waiting | undefined
  return keys.map((key, at) => {
    const press = { modified: false, taken: false, at, ...(typeof key === 'string' ? { key } : key) }
    const read = readPress(waiting, press)
    waiting = read.waiting
    return read.command
  })
}

describe('shortcuts', () => {
  it('go to every page by g and its letter, each letter once', () => {
    for (const { key, to } of pageKeys) expect(type('g', key)).toEqual([undefined, { kind: 'go', to }])
    expect(new Set(pageKeys.map(({ key }) => key)).size).toBe(pageKeys.length)
  })

  it('walk rows, open the filter and the list of themselves', () => {
    expect(type('j', 'k', '/', 'Shift', '?')).toEqual([
      { kind: 'row', step: 1 },
      { kind: 'row', step: -1 },
      { kind: 'filter' },
      undefined,
      { kind: 'help' },
    ])
  })

  it('are nothing in a field, and nothing with a modifier', () => {
    for (const key of ['g', 'j', 'k', '/', '?']) {
      expect(type({ key, taken: true })).toEqual([undefined])
      expect(type({ key, modified: true })).toEqual([undefined])
    }
    expect(type('g', { key: 'f', taken: true })).toEqual([undefined, undefined])
    expect(type('g', { key: 'f', modified: true }, 'f')).toEqual([undefined, undefined, undefined])
  })

  it('forget a g that was long ago, and one that another letter followed', () => {
    expect(type({ key: 'g', at: 0 }, { key: 'f', at: 1600 })).toEqual([undefined, undefined])
    expect(type('g', 'x', 'f')).toEqual([undefined, undefined, undefined])
    expect(type('g', 'j')).toEqual([undefined, undefined])
    expect(type('F', 'G', 'J')).toEqual([undefined, undefined, undefined])
  })

  it('stay on the first and the last row', () => {
    expect(nextRow(-1, 1, 3)).toBe(0)
    expect(nextRow(-1, -1, 3)).toBe(2)
    expect(nextRow(2, 1, 3)).toBe(2)
    expect(nextRow(0, -1, 3)).toBe(0)
    expect(nextRow(0, 1, 3)).toBe(1)
    expect(nextRow(-1, 1, 0)).toBeUndefined()
  })
})
