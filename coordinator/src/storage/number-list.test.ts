import * as fc from 'fast-check'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rowsOf } from './bulk.ts'
import type { OpenDatabase } from './database.ts'
import { type NumberList, numbersFrom, numbersIn } from './number-list.ts'
import { dialects, testDatabase } from './testing.ts'

describe.each(dialects)('a list of numbers on %s', (dialect) => {
  let database: OpenDatabase
  beforeAll(async () => {
    database = await testDatabase(dialect)
  })
  afterAll(() => database.close())

  test('comes as it was, in its order', async () => {
    const { bulk: db } = database
    // A negative zero is no number of a database.
    const whole = fc.maxSafeInteger().map((value) => value + 0)
    await fc.assert(
      fc.asyncProperty(fc.array(whole, { maxLength: 20 }), async (given) => {
        const rows = given.map((value, n) => ({ n, value }))
        const found = await sql<{ list: NumberList }>`select ${numbersIn(db)(sql`value`)} as list
          from (select value from ${rowsOf(db, { n: 'bigint', value: 'bigint' }, rows)} order by n) as found`.execute(
          db,
        )
        expect(numbersFrom(found.rows[0]?.list)).toEqual(given)
      }),
      { numRuns: 30 },
    )
  })
})
