import * as fc from 'fast-check'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rowsOf } from './bulk.ts'
import { comesAfter, type OpenDatabase, type Position } from './database.ts'
import { dialects, testDatabase } from './testing.ts'

const PAGE = 3

describe.each(dialects)('a list in pages on %s, the latest first', (dialect) => {
  let database: OpenDatabase
  beforeAll(async () => {
    database = await testDatabase(dialect)
  })
  afterAll(() => database.close())

  test('has every row once, whichever of them share a time', async () => {
    const { bulk: db } = database
    const row = fc.record({ at: fc.nat({ max: 3 }), id: fc.uuid() })
    const all = fc.uniqueArray(row, { maxLength: 12, selector: ({ id }) => id })
    await fc.assert(
      fc.asyncProperty(all, async (rows) => {
        const read: string[] = []
        let last: Position | undefined
        do {
          const page: { rows: Position[] } = await sql<Position>`select at, id
            from (select at, id from ${rowsOf(db, { at: 'bigint', id: 'text' }, rows)}) as listed
            where ${comesAfter(last, { at: 'at', id: 'id' })}
            order by at desc, id desc limit ${PAGE}`.execute(db)
          read.push(...page.rows.map(({ id }) => id))
          last = page.rows.at(-1)
        } while (last)
        const sorted = rows.toSorted((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1))
        expect(read).toEqual(sorted.map(({ id }) => id))
      }),
      { numRuns: 30 },
    )
  })
})
