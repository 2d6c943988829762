import { expect, test } from 'vitest'
import { keepStatements } from './statement-cache.ts'

/** Says how often each statement was prepared. */
function counted(most?: number) {
  const prepared: string[] = []
  const database = {
    close: () => undefined,
    prepare(sql: string) {
      prepared.push(sql)
      return {
        reader: true,
        all: () => [],
        run: () => ({ changes: 0, lastInsertRowid: 0 }),
        iterate: () => [].values(),
      }
    },
  }
  return { prepared, kept: keepStatements(database, most) }
}

test('a statement is prepared once, and again after tables have changed', () => {
  const { prepared, kept } = counted()
  const first = kept.prepare('select 1')
  expect(kept.prepare('select 1')).toBe(first)
  kept.prepare('alter table x add column y integer')
  expect(kept.prepare('select 1')).not.toBe(first)
  expect(prepared).toEqual(['select 1', 'alter table x add column y integer', 'select 1'])
})

test('of too many the one goes that has not been used for longest', () => {
  const { prepared, kept } = counted(2)
  for (const sql of ['a', 'b', 'a', 'c', 'a', 'b']) kept.prepare(sql)
  expect(prepared).toEqual(['a', 'b', 'c', 'b'])
})
