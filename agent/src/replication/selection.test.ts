import { isAppError } from '@understudy/shared/core/app-error'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createSelection, problemOfPattern } from './selection.ts'

const select = (patterns: { include?: string[]; exclude?: string[]; priority?: string[] }) =>
  createSelection({ include: [], exclude: [], priority: [], ...patterns })
const latin1 = (name: string) => Buffer.from(name).toString('latin1')

test('without patterns everything is selected and nothing goes first', () => {
  const selection = select({})
  expect(selection.selects('any/thing\n', 'file')).toBe(true)
  expect(selection.selects('', 'dir')).toBe(true)
  expect(selection.isPriority('any')).toBe(false)
})

test.each([
  // pattern, names that it matches, names that it does not
  ['*.log', ['a.log', '.log', 'a\nb.log', 'a.log/below'], ['d/a.log', 'a.logs', 'a.log2']],
  ['**/*.log', ['a.log', 'd/a.log', 'd/e/.a.log', 'd/a.log/below'], ['d/a.txt']],
  ['cache', ['cache', 'cache/a', 'cache/a/b'], ['d/cache', 'cached', 'Cache']],
  ['wal/**', ['wal/1', 'wal/a/b', 'wal/a\nb'], ['wal', 'walk/1']],
  ['a/**/z', ['a/z', 'a/b/z', 'a/b/c/z', 'a/b/z/y'], ['a/zz', 'z']],
  ['{tmp,run}/*.sock', ['tmp/a.sock', 'run/b.sock'], ['var/a.sock', 'tmp/d/a.sock']],
  ['[0-9]?', ['1a', '22', '1a/b'], ['a1', '1', '111', '1/']],
  ['data (1)|"x"', ['data (1)|"x"'], ['data 1', 'data (1)']],
  ['\\*', ['*'], ['a']],
  ['[ab]', ['a', 'b'], ['[ab]', 'c']],
  ['größe/*', [latin1('größe/ü')], ['größe/ü']],
  ['?', ['\xe9', '\n'], [latin1('é')]],
])('%s', (pattern, yes, no) => {
  const excluding = select({ exclude: [pattern] })
  const including = select({ include: [pattern] })
  for (const name of yes) {
    expect(excluding.selects(name, 'file'), `exclude ${name}`).toBe(false)
    expect(including.selects(name, 'file'), `include ${name}`).toBe(true)
  }
  for (const name of no) {
    expect(excluding.selects(name, 'symlink'), `exclude ${name}`).toBe(true)
    expect(including.selects(name, 'symlink'), `include ${name}`).toBe(false)
  }
})

test('a trailing slash means a directory with everything below, never a file of that name', () => {
  const { selects } = select({ exclude: ['**/cache/'] })
  expect(selects('cache', 'dir')).toBe(false)
  expect(selects('cache', 'file')).toBe(true)
  expect(selects('d/cache', 'symlink')).toBe(true)
  expect(selects('d/cache/file', 'file')).toBe(false)
})

test('directories that may lead to an included name are selected, others are not', () => {
  const { selects } = select({ include: ['a/b*/c.db', 'x/**/y', 'z/**'] })
  for (const name of ['', 'a', 'a/b', 'a/b2', 'x', 'x/1', 'x/1/2', 'z', 'z/1'])
    expect(selects(name, 'dir'), name).toBe(true)
  for (const name of ['b', 'a/c', 'a/b/d', 'a/b/c', 'aa']) expect(selects(name, 'dir'), name).toBe(false)
  expect(selects('a', 'file')).toBe(false)
  expect(selects('x/1', 'file')).toBe(false)
})

test('an exclude wins over an include, for what leads there too', () => {
  const { selects } = select({ include: ['data/'], exclude: ['data/tmp/', '**/*.swp'] })
  expect(selects('data/a', 'file')).toBe(true)
  expect(selects('data/tmp', 'dir')).toBe(false)
  expect(selects('data/tmp/a', 'file')).toBe(false)
  expect(selects('data/a.swp', 'file')).toBe(false)
})

test('a priority pattern counts for what lies below it', () => {
  const { isPriority } = select({ priority: ['wal/', '*.meta'] })
  expect(['wal', 'wal/1', 'a.meta'].every(isPriority)).toBe(true)
  expect(['', 'waldo', 'd/a.meta'].some(isPriority)).toBe(false)
})

test.each([
  ['', 'empty'],
  ['/srv/data/cache', 'relative'],
  ['!keep', 'negation'],
  ['../other', '".."'],
  ['a/./b', '"."'],
  ['a//b', 'two slashes'],
  ['a{b,c/d}', 'one pattern for each'],
  ['a[b', 'Missing closing'],
  ['a{b', 'Missing closing'],
  ['[é]', 'not ASCII'],
  ['a\\', 'backslash'],
  ['a\0', 'zero byte'],
  ['x'.repeat(1025), 'longer'],
  ['[z-a]', 'is not a pattern'],
])('%j is refused with what is wrong', (pattern, message) => {
  expect(problemOfPattern(pattern)).toContain(message)
  try {
    select({ exclude: [pattern] })
    expect.unreachable()
  } catch (error) {
    expect(isAppError(error, 'config_invalid')).toBe(true)
  }
})

/** The same rules once more, name by name, for a small alphabet. */
function reference(pattern: readonly string[], path: readonly string[]): boolean {
  const [head, ...rest] = pattern
  if (head === undefined) return path.length === 0
  if (head === '**') {
    const least = rest.length === 0 ? 1 : 0
    return (
      path.some((_, at) => at >= least && reference(rest, path.slice(at))) ||
      (rest.length === 0 && path.length > 0)
    )
  }
  const [name, ...names] = path
  return name !== undefined && segment(head, name) && reference(rest, names)
}
function segment(pattern: string, name: string): boolean {
  if (pattern === '') return name === ''
  if (pattern[0] === '*')
    return segment(pattern.slice(1), name) || (name !== '' && segment(pattern, name.slice(1)))
  return (
    name !== '' && (pattern[0] === '?' || pattern[0] === name[0]) && segment(pattern.slice(1), name.slice(1))
  )
}
const nonEmptyPrefixes = (path: readonly string[]) => path.map((_, at) => path.slice(0, at + 1))

test('every pattern of names, * , ? and ** matches what the rules say, for files and what is above them', () => {
  const segments = fc.constantFrom('a', 'b', '*', '?', 'a*', '*b', '**')
  const names = fc.constantFrom('a', 'b', 'ab', '.b', 'c')
  fc.assert(
    fc.property(
      fc.array(segments, { minLength: 1, maxLength: 4 }),
      fc.array(names, { minLength: 1, maxLength: 5 }),
      (pattern, path) => {
        const expected = nonEmptyPrefixes(path).some((prefix) => reference(pattern, prefix))
        const glob = pattern.join('/')
        const name = path.join('/')
        expect(select({ exclude: [glob] }).selects(name, 'file')).toBe(!expected)
        const including = select({ include: [glob] })
        expect(including.selects(name, 'file')).toBe(expected)
        // Otherwise it could never be reached.
        if (expected)
          for (const prefix of nonEmptyPrefixes(path).slice(0, -1))
            expect(including.selects(prefix.join('/'), 'dir')).toBe(true)
      },
    ),
    { numRuns: 2000 },
  )
})

test('any text is either refused or a pattern that can be asked', () => {
  fc.assert(
    fc.property(
      fc.tuple(fc.string({ unit: 'binary', maxLength: 30 }), fc.string({ maxLength: 30 })),
      ([pattern, path]) => {
        if (problemOfPattern(pattern) === undefined)
          expect(select({ include: [pattern] }).selects(path, 'file')).toBeTypeOf('boolean')
      },
    ),
    { numRuns: 2000 },
  )
})
