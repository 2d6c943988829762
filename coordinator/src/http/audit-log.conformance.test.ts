import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { describe, expect, onTestFinished, test } from 'vitest'
import { dialects, testDatabase } from '../storage/testing.ts'
import { createAudit } from './audit.ts'
import { createAuditLog } from './audit-log.ts'

describe.each(dialects)('the audit log on %s', (dialect) => {
  test('is read a page at a time, the latest first, and by who did what to whom', async () => {
    const database = await testDatabase(dialect)
    onTestFinished(() => database.close())
    const { clock } = createVirtualTime(Date.parse('2026-01-01T00:00:00.000Z'))
    const audit = createAudit(database.db, clock)
    await audit.record({
      actor: 'ada',
      action: 'agent.settings',
      object: 'a',
      before: { n: 1 },
      after: { n: 2 },
    })
    await audit.record({ actor: 'bob', action: 'replica.delete', object: 'b' })
    await audit.record({ actor: 'ada', action: 'agent.drill', object: 'a', after: 'x' })
    const log = createAuditLog(database.db)
    const first = await log.list({}, undefined, 2)
    expect(first.items.map(({ action }) => action)).toEqual(['agent.drill', 'replica.delete'])
    expect(first.items[1]).toMatchObject({
      actor: 'bob',
      at: '2026-01-01T00:00:00.000Z',
      before: null,
      after: null,
    })
    const last = await log.list({}, first.next ?? '', 2)
    expect(last).toMatchObject({ next: null, items: [{ before: { n: 1 }, after: { n: 2 } }] })
    const ofAda = await log.list({ actor: 'ada', object: 'a' }, undefined, 50)
    expect(ofAda.items.map(({ action }) => action)).toEqual(['agent.drill', 'agent.settings'])
    expect((await log.list({ action: "x' or 1=1" }, undefined, 50)).items).toEqual([])
    await expect(log.list({}, '1; drop', 2)).rejects.toMatchObject({ code: 'input_invalid' })
  })
})
