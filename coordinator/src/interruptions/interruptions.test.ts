import { hours, instant, minutes } from '@understudy/shared/core/time'
import { parsePool, poolId } from '@understudy/shared/market/pool'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import { testDatabase } from '../storage/testing.ts'
import { createInterruptions, type MultiplierChoice } from './interruptions.ts'

const POOL = parsePool('m5.large@us-east-1a')
const OTHER = parsePool('c5.large@eu-west-1a')
const ADVISOR = { band: 1, asOf: instant(Date.UTC(2026, 10, 20)) } as const

let database: Awaited<ReturnType<typeof testDatabase>>
let time: ReturnType<typeof createVirtualTime>
let asked = 0
beforeEach(async () => {
  database = await testDatabase('sqlite')
  await addAgent(database.db, { id: 'a' })
  time = createVirtualTime(Date.UTC(2026, 10, 21))
  asked = 0
})
afterEach(() => database.close())

const opened = (multipliers: MultiplierChoice = 'age') =>
  createInterruptions({
    db: database.db,
    clock: time.clock,
    bandsOf(pools) {
      asked += 1
      return Promise.resolve(new Map(pools.map((pool) => [poolId(pool), ADVISOR])))
    },
    multipliers,
  })

/** Ten that were taken back after half an hour, and ten that ran for two days. */
async function aBadFirstHour(): Promise<void> {
  const now = time.clock.now()
  for (let i = 0; i < 20; i += 1) {
    const died = i < 10
    const launched = now - hours(100)
    const pool_id = poolId(POOL)
    const ended = launched + (died ? minutes(30) : hours(48))
    await addInstance(database.db, {
      id: `i-${i}`,
      agent_id: 'a',
      pool_id,
      launched_at: launched,
      terminated_at: ended,
    })
    if (!died) continue
    await database.db
      .insertInto('spot_interruption_events')
      .values({
        ...{ id: `e-${i}`, agent_id: 'a', instance_id: `i-${i}`, trigger: 'notice', old_epoch: 1 },
        ...{
          signal_type: 'termination-notice',
          detected_at: ended,
          seen_via: '[{"via":"imds","after_ms":0}]',
        },
        ...{ response_action: '', outcome: '', outcome_reason: '', failover_completed: 0 },
      })
      .execute()
  }
}

test('without a history it is the band, and says so', async () => {
  const found = await opened().estimate({ pool: POOL, launchedAt: null })
  expect(found.probability12h).toBeCloseTo(0.0012807, 6)
  expect(found).toMatchObject({
    band: 1,
    own: { instanceHours: 0, interruptions: 0 },
    because: ["100.0 % the Spot Advisor's band"],
    multiplier: 1,
  })
})

test('own interruptions raise the pool, and less so pools elsewhere', async () => {
  await aBadFirstHour()
  const interruptions = opened()
  const here = await interruptions.estimate({ pool: POOL, launchedAt: null })
  const there = await interruptions.estimate({ pool: OTHER, launchedAt: null })
  // Ten in 485 hours: 12 h of it are about 0.22.
  expect(here.value).toBeGreaterThan(0.15)
  expect(here.value).toBeLessThan(0.24)
  expect(here.own).toEqual({ instanceHours: 485, interruptions: 10 })
  expect(here.because[0]).toMatch(/% own history of this pool$/)
  expect(there.value).toBeGreaterThan(0.0012807)
  expect(there.value).toBeLessThan(here.value)
  const rate = await interruptions.rates()
  expect(rate(POOL, 1)).toBe(here.value)
})

test('a young instance is at greater risk where the young ones died, unless that is switched off', async () => {
  await aBadFirstHour()
  const of = async (choice: MultiplierChoice, hoursOld: number) => {
    const launchedAt = instant(time.clock.now() - hours(hoursOld))
    return (await opened(choice).estimate({ pool: POOL, launchedAt, hours: 1 })).multiplier
  }
  expect(await of('age', 0)).toBeGreaterThan(1.5)
  expect(await of('age', 30)).toBeLessThan(1)
  expect(await of('none', 0)).toBe(1)
  expect(await of('age-and-hour', 0)).not.toBe(await of('age', 0))
})

test('what was read is kept for a minute, and a failure is not', async () => {
  const interruptions = opened()
  const before = await interruptions.rates()
  await aBadFirstHour()
  expect((await interruptions.rates())(POOL, 1)).toBe(before(POOL, 1))
  expect(asked).toBe(1)
  await time.advance(minutes(1))
  expect((await interruptions.rates())(POOL, 1)).toBeGreaterThan(before(POOL, 1))

  let down = true
  const shaky = createInterruptions({
    db: database.db,
    clock: time.clock,
    bandsOf: () => (down ? Promise.reject(new Error('no catalog')) : Promise.resolve(new Map())),
    multipliers: 'age',
  })
  await expect(shaky.rates()).rejects.toThrow('no catalog')
  down = false
  expect((await shaky.rates())(OTHER, null)).toBeGreaterThan(0)
})
