import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createMarket, type Market } from '../../coordinator/src/market/market.ts'
import { silent } from '../../coordinator/src/market/testing.ts'
import { createPoolFeatures } from '../../coordinator/src/models/pool-features.ts'
import { createPoolPrices } from '../../coordinator/src/models/pool-prices.ts'
import type { OpenDatabase } from '../../coordinator/src/storage/database.ts'
import { testDatabase } from '../../coordinator/src/storage/testing.ts'
import { type MicroUsd, microUsd } from '../../shared/src/core/money.ts'
import { seededRandom } from '../../shared/src/core/random.ts'
import { type Instant, instant, millis } from '../../shared/src/core/time.ts'
import { BUCKET } from '../../shared/src/market/bucket.ts'
import { featureCatalog } from '../../shared/src/market/feature-catalog.ts'
import { parsePool, poolId } from '../../shared/src/market/pool.ts'
import { HOUR_MS } from '../../shared/src/market/price-path.ts'
import { PRICE_INSTABILITY_12H } from '../../shared/src/market/price-rise.ts'
import type { ModelManifest } from '../../shared/src/protocol/model-manifest.ts'
import { matrixRows, segmentsOf } from './matrix.ts'

/** What the coordinator computes from its database is what `pnpm models:features` writes, number by number. */

const START = Date.UTC(2026, 0, 1)
const hour = (h: number) => instant(START + h * HOUR_MS)
const END = 400
const names = featureCatalog.map(({ name }) => name)
const manifestOf = (features: readonly { name: string; nullable: boolean }[]) =>
  ({ input: { features } }) as unknown as ModelManifest
const manifest = manifestOf(names.map((name) => ({ name, nullable: true })))

/** Random walks of six pools of two families; every price is said again after at most a day. */
const random = seededRandom(7)
const histories = ['c5.large', 'c5.xlarge', 'm5.large'].flatMap((type) =>
  ['a', 'b'].map((zone) => {
    const events: { at: Instant; price: MicroUsd }[] = []
    let price = 50_000
    for (let h = 0; h <= END; h += 1 + random() * 12) {
      if (random() < 0.7) price = Math.round(price * (0.95 + random() * 0.1))
      events.push({ at: instant(Math.round(hour(h))), price: microUsd(price) })
    }
    return { pool: parsePool(`${type}@sa-east-1${zone}`), events }
  }),
)
const onDemand = new Map([
  ['c5.large', microUsd(131_000)],
  ['m5.large', microUsd(153_000)],
])

let database: OpenDatabase
let market: Market
let now = hour(END)
beforeAll(async () => {
  database = await testDatabase('sqlite')
})
afterAll(() => database.close())
beforeEach(async () => {
  now = hour(END)
  for (const table of ['price_changes', 'price_coverage', 'pricing_snapshots_clean', 'pools'] as const)
    await database.db.deleteFrom(table).execute()
  market = createMarket({
    db: database.bulk,
    clock: { now: () => now, mono: () => 0 as never, timer: () => () => undefined },
    log: silent,
    known: { isKnownZone: () => true, onDemand: () => undefined },
    retention: { submissions: millis(1e12), prices: millis(1e12) },
    gapFiller: false,
  })
})

const record = (upTo: number) =>
  Promise.all(
    histories.map(({ pool, events }) =>
      market.recordHistory(
        poolId(pool),
        events.filter(({ at }) => at <= hour(upTo)),
        [{ from: hour(0), to: instant(hour(upTo) + 1) }],
        'import',
      ),
    ),
  )
const serving = () => {
  const prices = createPoolPrices(market, () => now)
  return { prices, features: createPoolFeatures(prices, ({ instanceType }) => onDemand.get(instanceType)) }
}

test('rows at serving are the rows of the training matrix, as time goes by and prices come', async () => {
  const numberOf = new Map(histories.map(({ pool }, i) => [poolId(pool), i]))
  const matrix = [
    ...matrixRows(
      {
        ...{ histories, onDemand, names, target: PRICE_INSTABILITY_12H, grid: HOUR_MS },
        ...{ warmUp: 168 * HOUR_MS, segments: segmentsOf(histories, []) },
      },
      numberOf,
    ),
  ]
  await record(180)
  const { prices, features } = serving()
  let compared = 0
  for (const h of [180, 181, 190, 215, 300, 380]) {
    now = hour(h)
    await record(h)
    await prices.refresh()
    const rows = matrix.find(({ at }) => at === now)
    const live = features.rows(manifest, 'sa-east-1', now)
    expect([...live.left]).toEqual([])
    for (const [i, n] of (rows?.pools ?? []).entries()) {
      const id = poolId(histories[n]?.pool as never)
      const at = live.pools.findIndex((priced) => priced.id === id)
      const width = names.length
      expect([...live.values.subarray(at * width, (at + 1) * width)]).toEqual([
        ...(rows?.features.subarray(i * width, (i + 1) * width) ?? []),
      ])
      compared += 1
    }
  }
  expect(compared).toBeGreaterThan(25)
})

test('a pool without enough prices has no row, and the reason is said', async () => {
  await record(END)
  await market.recordHistory('c5.2xlarge@sa-east-1a', [], [{ from: hour(300), to: hour(END) }], 'history')
  const short = histories[0]?.events.filter(({ at }) => at > hour(390)) ?? []
  await market.recordHistory('r5.large@sa-east-1a', short, [{ from: hour(390), to: hour(END) }], 'history')
  const { prices, features } = serving()
  await prices.refresh()
  const asked = ['c5.large@sa-east-1a', 'c5.2xlarge@sa-east-1a', 'r5.large@sa-east-1a', 'x1.large@sa-east-1a']
  const rows = features.rows(manifest, 'sa-east-1', hour(END), asked)
  expect(rows.pools.map(({ id }) => id)).toEqual(['c5.large@sa-east-1a'])
  expect(Object.fromEntries(rows.left)).toEqual({
    'c5.2xlarge@sa-east-1a': 'NO_PRICES',
    'r5.large@sa-east-1a': 'SHORT_HISTORY',
    'x1.large@sa-east-1a': 'NO_PRICES',
  })
  const all = features.rows(manifest, 'sa-east-1', hour(END))
  expect([...all.left.keys()].sort()).toEqual(['c5.2xlarge@sa-east-1a', 'r5.large@sa-east-1a'])
  const width = names.length
  for (const [i, { id }] of all.pools.entries())
    expect([...all.values.subarray(i * width, (i + 1) * width)], `${id}, among others`).toEqual([
      ...features.rows(manifest, 'sa-east-1', hour(END), [id]).values,
    ])
  expect(all.values).toHaveLength(all.pools.length * width)
  const late = features.rows(manifest, 'sa-east-1', instant(hour(END + 6) + BUCKET), asked.slice(0, 1))
  expect([...late.left.values()]).toEqual(['STALE_PRICE'])
  const needs = manifestOf([{ name: 'headroom', nullable: false }])
  const without = features.rows(needs, 'sa-east-1', hour(END), [
    'c5.xlarge@sa-east-1a',
    'c5.large@sa-east-1a',
  ])
  expect([...without.left]).toEqual([['c5.xlarge@sa-east-1a', 'FEATURE_UNKNOWN']])
  expect(without.values).toHaveLength(1)
})

test('an on-demand price that becomes another one counts from the next hour on', async () => {
  await record(200)
  now = hour(200)
  const prices = createPoolPrices(market, () => now)
  await prices.refresh()
  let price = microUsd(1e9)
  const features = createPoolFeatures(prices, () => price)
  const headroom = (at: Instant) =>
    features.rows(manifestOf([{ name: 'headroom', nullable: true }]), 'sa-east-1', at, [
      'c5.large@sa-east-1a',
    ]).values[0] as number
  const before = headroom(now)
  price = microUsd(2e9)
  expect(headroom(instant(now + BUCKET))).toBeCloseTo(before, 5)
  expect(headroom(hour(201)) - before).toBeCloseTo(Math.log(2), 5)
})

test('a model with features that nobody computes is told so', () => {
  expect(() =>
    serving().features.rows(manifestOf([{ name: 'moon', nullable: true }]), 'sa-east-1', now),
  ).toThrow('features that are not known here: moon')
})

test('a pool and a price that come later are in the next rows', async () => {
  await record(200)
  now = hour(200)
  const { prices, features } = serving()
  await prices.refresh()
  const before = features.rows(manifest, 'sa-east-1', now)
  expect(before.pools).toHaveLength(6)
  const { changes } = await market.history('c5.large@sa-east-1a', { from: hour(0), to: hour(201) })
  await market.recordHistory('c5.9xlarge@sa-east-1a', changes, [{ from: hour(0), to: hour(200) }], 'import')
  now = instant(hour(200) + BUCKET + 2000)
  await market.ingest({
    ...{ submissionId: 's', agentId: 'a' },
    rows: [
      {
        given: { pool: 'c5.large@sa-east-1b', at: instant(hour(200) + BUCKET + 1000), price: 9 },
        ...{ instanceId: 'i-1', role: 'primary' },
      },
    ],
  })
  await prices.refresh()
  const after = features.rows(manifest, 'sa-east-1', now)
  expect(after.pools).toHaveLength(7)
  const row = after.pools.findIndex(({ id }) => id === 'c5.large@sa-east-1b')
  const step = after.values[row * names.length + names.indexOf('last_step')]
  expect(step).toBeGreaterThan(3)
})
