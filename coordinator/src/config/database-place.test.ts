import { inspect } from 'node:util'
import { helpOf, resolveOptions } from '@understudy/shared/core/options'
import { expect, test } from 'vitest'
import { databasePlace } from './database-place.ts'
import { coordinatorOptions } from './options.ts'

const configOf = (env: Record<string, string>) =>
  resolveOptions(coordinatorOptions, { flags: {}, file: {}, env, readSecret: () => '' }).values
const placeOf = (env: Record<string, string>) => databasePlace(configOf(env))

test('without a word about it the data is in a file; DATABASE_URL or DB_HOST name PostgreSQL', () => {
  expect(placeOf({})).toEqual({ store: 'sqlite', path: 'understudy.db' })
  expect(placeOf({ UNDERSTUDY_DATABASE: 'x.db' })).toEqual({ store: 'sqlite', path: 'x.db' })
  const url = 'postgresql://me:p%40ss@db.example/prices?sslmode=require'
  expect(placeOf({ DATABASE_URL: url })).toEqual({ store: 'postgres', at: url })
  expect(placeOf({ DB_HOST: 'db', DB_PASSWORD: 'p@ss' })).toEqual({
    store: 'postgres',
    at: { host: 'db', port: 5432, database: 'understudy', user: 'understudy', password: 'p@ss' },
  })
})

test('two places at once, or PostgreSQL without a host, are refused with what to do', () => {
  const both = { DATABASE_URL: 'postgres://me@db/prices', DB_HOST: 'db' }
  expect(() => placeOf(both)).toThrow('DATABASE_URL and DB_HOST are set')
  expect(() => placeOf({ UNDERSTUDY_DATABASE: 'x.db', DB_HOST: 'db' })).toThrow('a SQLite file')
  expect(() => placeOf({ DB_NAME: 'prices' })).toThrow('DB_HOST is missing')
})

test('a password is in no error and no help', () => {
  for (const url of ['mysql://me:hunter2@db/prices', 'postgres://me:hunter2@db', 'hunter2'])
    try {
      configOf({ DATABASE_URL: url })
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ code: 'config_invalid', message: expect.stringContaining('postgres://') })
      expect(inspect(error, { depth: 9 })).not.toContain('hunter2')
    }
  expect(helpOf(coordinatorOptions)).not.toMatch(/--database-url|--db-password/)
})
