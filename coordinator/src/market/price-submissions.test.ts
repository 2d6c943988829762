import type { AgentId } from '@understudy/shared/core/ids'
import { type Instant, instant } from '@understudy/shared/core/time'
import { beforeEach, describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import { dialects } from '../storage/testing.ts'
import { MOST_NEW_POOLS } from './new-pools.ts'
import { createSubmitPrices, type SubmitPrices } from './price-submissions.ts'
import { at, day, POOL, testMarket } from './testing.ts'

describe.each(dialects)('submissions on %s', (dialect) => {
  const world = testMarket(dialect)
  let submit: SubmitPrices
  beforeEach(async () => {
    const { db } = world.database
    for (const table of ['instances', 'agents', 'clients'] as const) await db.deleteFrom(table).execute()
    for (const [agent, instance] of [
      ['a', 'i-0a'],
      ['b', 'i-0b'],
    ] as const) {
      await addAgent(db, { id: agent, instance_id: instance })
      await addInstance(db, { id: instance, agent_id: agent, pool_id: POOL })
    }
    submit = open()
  })
  const open = () =>
    createSubmitPrices({
      db: world.database.bulk,
      market: {
        ingest: (submission) => world.market.ingest(submission),
        unknownPools: (ids) => world.market.unknownPools(ids),
      },
      known: () => ({ now: world.now, isKnownZone: () => undefined, onDemand: () => undefined }),
      onResult: () => undefined,
    })
  const send = (samples: readonly unknown[], agent = 'a') =>
    submit({ agentId: agent as AgentId, instanceId: `i-0${agent}` }, { samples: [...samples] })
  const sample = (pool: string, time: Instant = at(400)) => ({ pool_id: pool, at: time, price: 0.04 })
  const poolsKnown = async () => (await world.market.pools()).length

  test('an agent cannot write prices of a time before any that it can have kept', async () => {
    const oldest = instant(world.now - 8 * day)
    const result = await send([
      sample(POOL),
      sample(POOL, oldest),
      sample(POOL, instant(oldest - 1)),
      sample(POOL, instant(Date.UTC(2015, 1, 1))),
    ])
    expect(result).toMatchObject({ accepted: 2, refused: 2 })
    expect(result.errors.map(({ pointer, code }) => `${pointer} ${code}`)).toEqual([
      '/samples/2 time_too_old',
      '/samples/3 time_too_old',
    ])
    expect(result.errors[0]?.message).toContain('import a file')
    expect(await world.clean()).toHaveLength(2)
  })

  test('a name of any length is refused alone, and the rest of the batch is kept', async () => {
    const result = await send([
      sample(`c5.${'x'.repeat(8000)}@us-east-1a`),
      sample(`c5.large@us-${'x'.repeat(8000)}-1a`),
      sample(POOL),
    ])
    expect(result).toMatchObject({
      accepted: 1,
      refused: 2,
      errors: [{ code: 'pool_malformed' }, { code: 'pool_malformed' }],
    })
  })

  test('an agent names at most so many new pools a day; what others have named is no new one', async () => {
    const name = (i: number) => `c${i}.large@us-east-1a`
    const many = Array.from({ length: MOST_NEW_POOLS + 2 }, (_, i) => sample(name(i)))
    const first = await send(many)
    expect(first).toMatchObject({ accepted: MOST_NEW_POOLS, refused: 2 })
    expect(first.errors).toMatchObject([
      { pointer: `/samples/${MOST_NEW_POOLS}`, code: 'pool_too_many' },
      { pointer: `/samples/${MOST_NEW_POOLS + 1}`, code: 'pool_too_many' },
    ])
    expect(await poolsKnown()).toBe(MOST_NEW_POOLS)
    // The same again, and in a batch of its own, is refused again; nobody else is held to it.
    expect(await send(many)).toMatchObject({ duplicates: MOST_NEW_POOLS, refused: 2 })
    const another = sample(name(MOST_NEW_POOLS))
    expect(await send([another])).toMatchObject({ accepted: 0, errors: [{ code: 'pool_too_many' }] })
    expect(await send([another], 'b')).toMatchObject({ accepted: 1, refused: 0 })
    expect(await send([another])).toMatchObject({ accepted: 1, refused: 0 })
    expect(await send([sample(name(7), at(401))])).toMatchObject({ accepted: 1, refused: 0 })

    world.now = instant(world.now + day)
    expect(await send(many)).toMatchObject({ accepted: 1, refused: 0 })
    expect(await poolsKnown()).toBe(MOST_NEW_POOLS + 2)
  })

  test('what is refused for its price or time makes no pool, and does not count as one', async () => {
    const bad = Array.from({ length: 2 * MOST_NEW_POOLS }, (_, i) => ({
      ...sample(`c${i}.large@us-east-1a`),
      price: 0,
    }))
    expect(await send(bad)).toMatchObject({ accepted: 0, refused: bad.length })
    expect(await poolsKnown()).toBe(0)
    expect(await send([sample(POOL)])).toMatchObject({ accepted: 1 })
  })
})
