import { AppError } from '@understudy/shared/core/app-error'
import { type MicroUsd, microUsd } from '@understudy/shared/core/money'
import { seededRandom } from '@understudy/shared/core/random'
import { hours, type Instant, millis, minutes, plus, seconds } from '@understudy/shared/core/time'
import { bucketOf } from '@understudy/shared/market/bucket'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import type { Ec2OfInstance } from '../aws/aws.ts'
import { pageOf } from '../aws/testing.ts'
import { parseXml } from '../aws/xml.ts'
import type { PriceSample, SampledAs } from './price-lines.ts'
import { createSampler } from './sampler.ts'
import { isDue, latenessOf, slotOf, startOf } from './schedule.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

const INTERVAL = seconds(300)
/** 2023-11-14T22:13:20Z: three minutes and twenty seconds into a bucket. */
const START = 1_700_000_000_000

function start(options: { alternatives?: readonly string[]; as?: SampledAs | undefined } = {}) {
  const time = createVirtualTime(START)
  const kept: { samples: readonly PriceSample[]; as: SampledAs; at: Instant }[] = []
  const asked: string[][] = []
  const lines: string[] = []
  const world = {
    as: ('as' in options ? options.as : 'primary') as SampledAs | undefined,
    failure: undefined as unknown,
    price: '0.0416',
    whileAsked: () => undefined as unknown,
  }
  const instance: Ec2OfInstance = {
    region: 'us-east-1',
    instanceType: 'c5.large',
    ec2: {
      endpoint: 'https://ec2',
      now: () => time.clock.now(),
      skew: millis(0),
      async call(_, parameters) {
        const types = Object.entries(parameters).flatMap(([name, value]) =>
          name.startsWith('InstanceType') ? [value] : [],
        )
        asked.push(types)
        world.whileAsked()
        if (world.failure) throw world.failure
        return parseXml(
          pageOf(types.filter((type) => type !== 'x9.large').map((type) => ({ type, price: world.price }))),
        )
      },
    },
  }
  const lateness = latenessOf('i-0123456789abcdef0', INTERVAL)
  const sampler = createSampler({
    open: async () => instance,
    alternatives: options.alternatives ?? [],
    instance: 'i-0123456789abcdef0',
    slots: { interval: INTERVAL, lateness },
    as: () => world.as,
    keep: async (samples, as) => void kept.push({ samples, as, at: time.clock.now() }),
    clock: time.clock,
    random: seededRandom(1),
    log: pino({ level: 'debug' }, { write: (line: string) => lines.push(line) }),
  })
  const stop = new AbortController()
  const running = sampler.run(stop.signal)
  stops.push(async () => {
    stop.abort()
    await running
    expect(time.pending()).toBe(0)
  })
  const events = (name: string) => lines.filter((line) => line.includes(`"event":"${name}"`))
  return { time, kept, asked, world, sampler, lateness, events }
}

test('it samples at once, and then once per bucket at its own moment', async () => {
  const { time, kept, lateness, sampler } = start()
  await time.advance(0)
  expect(kept).toEqual([
    {
      as: 'primary',
      at: START,
      samples: [
        {
          pool: 'c5.large@us-east-1a',
          at: new Date(START).toISOString(),
          usd: 0.0416,
          instance: 'i-0123456789abcdef0',
          role: 'primary',
        },
      ],
    },
  ])
  await time.advance(hours(2))
  const later = kept.slice(1).map(({ at }) => at)
  expect(later).toHaveLength(24)
  expect(later.map((at) => at - bucketOf(at))).toEqual(later.map(() => lateness))
  expect(new Set(later.map(bucketOf)).size).toBe(24)
  expect(sampler).toMatchObject({ lastAt: later.at(-1), pools: 1, error: undefined, degraded: undefined })
})

test('alternatives are sampled too, each type once, and one that is not sold is told once', async () => {
  const { time, asked, kept, events } = start({ alternatives: ['m5.large', 'c5.large', 'x9.large'] })
  await time.advance(minutes(20))
  expect(asked[0]).toEqual(['c5.large', 'm5.large', 'x9.large'])
  expect(kept[0]?.samples.map(({ pool }) => pool)).toEqual(['c5.large@us-east-1a', 'm5.large@us-east-1a'])
  expect(events('prices.no_offer')).toHaveLength(1)
})

test('who is neither primary nor replica, or has a notice, samples nothing; who is promoted goes on at once', async () => {
  const { time, kept, world, sampler } = start({ as: undefined })
  const become = async (as: SampledAs | undefined) => {
    world.as = as
    sampler.wake()
    await time.advance(0)
    return kept.map(({ as: taken }) => taken)
  }
  await time.advance(minutes(30))
  expect(kept).toEqual([])
  expect(await become('replica')).toEqual(['replica'])
  expect(await become('replica')).toEqual(['replica'])
  expect(await become('primary')).toEqual(['replica', 'primary'])
  expect(await become(undefined)).toHaveLength(2)
  await time.advance(hours(1))
  expect(kept).toHaveLength(2)
  expect(await become('primary')).toHaveLength(3)
  // Back to being a replica within the bucket: the primary's price stands.
  expect(await become('replica')).toHaveLength(3)
})

test('an answer that comes after the notice is not kept', async () => {
  const { time, kept, world } = start()
  world.whileAsked = () => {
    world.as = undefined
  }
  await time.advance(hours(1))
  expect(kept).toEqual([])
})

const forbidden = () =>
  new AppError(
    'forbidden',
    'the role agent-role may not call ec2:DescribeSpotPriceHistory (UnauthorizedOperation)',
    {
      hint: 'Allow the action ec2:DescribeSpotPriceHistory',
    },
  )

test('a missing permission is told once, with the action, and looked for once per bucket', async () => {
  const { time, asked, kept, world, sampler, events } = start()
  world.failure = forbidden()
  await time.advance(hours(1))
  expect(asked).toHaveLength(13)
  expect(events('prices.not_sampled')).toHaveLength(1)
  expect(sampler.error).toContain('UnauthorizedOperation')
  expect(sampler.degraded).toMatchObject({
    code: 'prices_not_sampled',
    hint: expect.stringContaining('ec2:DescribeSpotPriceHistory'),
  })
  world.failure = undefined
  await time.advance(minutes(5))
  expect(kept).toHaveLength(1)
  expect(sampler.degraded).toBeUndefined()
  expect(events('prices.sampled_again')).toHaveLength(1)
})

test('what may pass is tried again within the bucket, with longer and longer waits, and told when it lasts', async () => {
  const { time, asked, kept, world, sampler, events } = start()
  world.failure = new AppError('unavailable', 'EC2 answers RequestLimitExceeded', { retryable: true })
  await time.advance(seconds(30))
  expect(asked.length).toBeGreaterThan(2)
  await time.advance(minutes(14))
  // 15 minutes at no more than once a second at first and twice a minute later.
  expect(asked.length).toBeLessThan(60)
  expect(sampler.degraded).toBeUndefined()
  await time.advance(minutes(2))
  expect(sampler.degraded).toMatchObject({ code: 'prices_not_sampled' })
  expect(events('prices.not_sampled')).toHaveLength(1)
  expect(kept).toEqual([])
  world.failure = undefined
  await time.advance(minutes(2))
  expect(kept.length).toBeGreaterThan(0)
  expect(sampler.error).toBeUndefined()
})

test('a wall clock that jumps costs at most one bucket', async () => {
  const { time, kept } = start()
  await time.advance(minutes(10))
  const before = kept.length
  time.jumpWall(-3_600_000)
  await time.advance(minutes(11))
  expect(kept.length).toBeGreaterThanOrEqual(before + 2)
  time.jumpWall(7_200_000)
  const again = kept.length
  await time.advance(minutes(11))
  expect(kept.length).toBeGreaterThanOrEqual(again + 2)
})

test('slots: every moment is in one, they follow each other, and a fleet is spread', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 4e12 }),
      fc.integer({ min: 1, max: 300 }),
      fc.string(),
      (at, every, name) => {
        const slots = { interval: seconds(every), lateness: latenessOf(name, seconds(every)) }
        const slot = slotOf(at as Instant, slots)
        expect(startOf(slot, slots)).toBeLessThanOrEqual(at)
        expect(startOf(slot + 1, slots)).toBe(plus(startOf(slot, slots), slots.interval))
        expect(startOf(slot + 1, slots)).toBeGreaterThan(at)
        expect(slots.lateness).toBeLessThanOrEqual(Math.min(60_000, slots.interval / 5))
      },
    ),
  )
  const latenesses = Array.from({ length: 200 }, (_, index) => latenessOf(`i-${index}`, INTERVAL))
  expect(Math.max(...latenesses) - Math.min(...latenesses)).toBeGreaterThan(50_000)
  expect(isDue({ slot: 3, as: 'primary' }, { slot: 3, as: 'replica' })).toBe(false)
})

test('prices are exact to the micro-dollar', async () => {
  const { time, kept, world } = start()
  world.price = '0.123456'
  await time.advance(0)
  const price: MicroUsd = microUsd(Math.round((kept[0]?.samples[0]?.usd ?? 0) * 1e6))
  expect(price).toBe(123_456)
})
