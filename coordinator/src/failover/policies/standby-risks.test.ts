import { instanceId } from '@understudy/shared/core/ids'
import { microUsd } from '@understudy/shared/core/money'
import { parsePool } from '@understudy/shared/market/pool'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Entry } from '../registry.ts'
import { createStandbyRanks } from './standby-ranks.ts'
import { createStandbyRisks, rankStandbys } from './standby-risks.ts'

const A = parsePool('m5.large@us-east-1a')
const in_ = (id: string) => ({ pool: parsePool(id), interruptionBand: 1 as const })
const quiet = pino({ level: 'silent' })
const company = { primary: A, others: [], bandOf: () => 1 as const }
const even = createStandbyRisks(
  {
    rates: () => Promise.resolve(() => 0.01),
    together: () => Promise.resolve((a, b) => (a.instanceType === b.instanceType ? 0.5 : 0.1)),
  },
  quiet,
)

test('of pools that are equally risky the one that is hit together with the primary is the worse, most of all after a notice', async () => {
  const same = in_('m5.large@us-east-1b')
  const other = in_('c5.large@us-east-1b')
  const atRest = await even.beside(company)
  expect(atRest(same)).toBeCloseTo(1 - 0.99 * 0.995, 9)
  expect(atRest(other)).toBeCloseTo(1 - 0.99 * 0.999, 9)
  const noticed = await even.beside({ ...company, primaryRisk: 1 })
  expect(noticed(same)).toBeCloseTo(1 - 0.99 * 0.5, 9)
  const crowded = await even.beside({ ...company, others: ['c5.large@us-east-1c'] })
  expect(crowded(other)).toBeGreaterThan(atRest(other))
})

test("where the history cannot be read the Advisor's band has to do, and it is said in the log", async () => {
  const lines: string[] = []
  const broken = createStandbyRisks(
    { rates: () => Promise.reject(new Error('the database is busy')), together: () => Promise.reject() },
    pino({}, { write: (line: string) => lines.push(JSON.parse(line).why) }),
  )
  const risk = await broken.beside({ ...company, primary: undefined })
  // -ln(1 - 0.075) / 730 an hour, for twelve.
  expect(risk(in_('m5.large@us-east-1b'))).toBeCloseTo(0.0012807, 6)
  expect(lines).toEqual(['the database is busy'])
})

test('standbys are ranked by risk, then by price, and one of unknown price comes last of its like', () => {
  const one = (instance: string, risk: number, price: number | null) => ({ instance, risk, price })
  const all = [one('d', 0.01, null), one('c', 0.0101, 40), one('b', 0.01, 50), one('a', 0.05, 10)]
  expect(rankStandbys(all)).toEqual(['c', 'b', 'd', 'a'])
})

test('the group is told the order once, and again when somebody else is there', async () => {
  const time = createVirtualTime()
  const told: unknown[] = []
  const row = (id: string, pool_id: string) => ({
    instance_id: id,
    pool_id,
    life_cycle: 'spot',
    spot_price: null,
  })
  const entry = {
    agentId: 'shop',
    runner: { group: { primary: instanceId('i-0a') }, dispatch: (event: unknown) => told.push(event) },
    replicas: new Map([
      ['i-0b', row('i-0b', 'm5.large@us-east-1b')],
      ['i-0c', row('i-0c', 'c5.large@us-east-1c')],
    ]),
  } as unknown as Entry
  const ranked = createStandbyRanks({
    fleet: { instance: () => Promise.resolve({ pool_id: 'm5.large@us-east-1a' } as never) },
    offers: { of: (pool) => ({ ...in_(pool), spotPrice: microUsd(1), onDemandPrice: microUsd(2) }) as never },
    risks: await Promise.resolve({
      beside: async (asked) => even.beside({ ...asked, primaryRisk: 1 }),
    }),
    clock: time.clock,
  })
  expect(await ranked(entry)).toEqual(['i-0c', 'i-0b'])
  expect(await ranked(entry)).toEqual(['i-0c', 'i-0b'])
  expect(told).toEqual([{ kind: 'appraised', order: ['i-0c', 'i-0b'] }])
  entry.replicas.delete('i-0c')
  expect(await ranked(entry)).toEqual(['i-0b'])
  expect(told).toHaveLength(2)
})
