import Database from 'better-sqlite3'
import { expect, onTestFinished, test, vi } from 'vitest'
import { cacheStatements } from './cached-statements.ts'
import { nativeBinding } from './native-binding.ts'

function open(kept?: number) {
  const sqlite = new Database(':memory:', nativeBinding())
  onTestFinished(() => void sqlite.close())
  sqlite.exec('create table t (a integer)')
  const prepare = vi.spyOn(sqlite, 'prepare')
  return { cached: cacheStatements(sqlite, kept), prepare }
}

test('a text is compiled once, and runs with other values each time', () => {
  const { cached, prepare } = open()
  for (const value of [1, 2, 3]) cached.prepare('insert into t values (?)').run([value])
  expect(prepare).toHaveBeenCalledTimes(1)
  for (const value of [3, 1])
    expect(cached.prepare('select a from t where a = ?').all([value])).toEqual([{ a: value }])
  expect(prepare).toHaveBeenCalledTimes(2)
})

test('those used last are kept', () => {
  const { cached, prepare } = open(2)
  for (const text of ['select 1', 'select 2', 'select 1', 'select 3', 'select 1']) cached.prepare(text)
  expect(prepare.mock.calls.map(([text]) => text)).toEqual(['select 1', 'select 2', 'select 3'])
  cached.prepare('select 2')
  expect(prepare).toHaveBeenCalledTimes(4)
})

test('a statement sees a table as it is now', () => {
  const { cached, prepare } = open()
  cached.prepare('insert into t values (?)').run([1])
  expect(cached.prepare('select * from t').all([])).toEqual([{ a: 1 }])
  cached.prepare('alter table t add column b integer').run([])
  expect(cached.prepare('select * from t').all([])).toEqual([{ a: 1, b: null }])
  expect(prepare).toHaveBeenCalledTimes(4)
})
