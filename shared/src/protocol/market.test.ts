import { expect, test } from 'vitest'
import {
  gapScanRequestSchema,
  MOST_SAMPLES,
  priceFetchRequestSchema,
  priceSeriesQuerySchema,
  priceSubmissionSchema,
  spotPricesQuerySchema,
} from './market.ts'

const messagesOf = (result: { error?: { issues: { path: PropertyKey[]; message: string }[] } | undefined }) =>
  result.error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)

test('rows of any kind come through, so that one bad row does not lose the others', () => {
  const samples = [
    { pool_id: 'c5.large@us-east-1a', at: '2025-11-20T10:05:00Z', price: 0.04 },
    7,
    null,
    [],
    'x',
  ]
  expect(priceSubmissionSchema.parse({ samples })).toEqual({ samples })
})

test('a batch that is too large says how large one may be', () => {
  const samples = Array<null>(MOST_SAMPLES + 1).fill(null)
  expect(messagesOf(priceSubmissionSchema.safeParse({ samples }))).toEqual([
    'samples: at most 1500 samples at a time; send the rest in further batches',
  ])
  expect(priceSubmissionSchema.safeParse({ samples: [] }).success).toBe(false)
  expect(priceSubmissionSchema.safeParse({ samples: {} }).success).toBe(false)
  expect(priceSubmissionSchema.safeParse({ samples: [1], sampels: [] }).success, 'unknown key').toBe(false)
})

test('the largest batch of real rows fits into a body that the API reads', () => {
  const row = {
    pool_id: 'u7inh-32tb.480xlarge@ap-northeast-1-wl1-nrt-wlz-1',
    at: '2025-11-20T10:05:00.000Z',
    price: '123.041600',
    instance_id: 'i-0123456789abcdef0',
    role: 'primary',
  }
  const samples = Array.from({ length: MOST_SAMPLES }, () => row)
  const body = JSON.stringify({ submission_id: crypto.randomUUID(), samples })
  expect(priceSubmissionSchema.safeParse(JSON.parse(body)).success).toBe(true)
  expect(body.length).toBeLessThanOrEqual(256 * 1024)
})

test('a series is asked for by pool, range and points', () => {
  expect(priceSeriesQuerySchema.parse({ pool: 'c5.large@us-west-2-lax-1a', points: '200' })).toEqual({
    pool: 'c5.large@us-west-2-lax-1a',
    points: 200,
  })
  expect(priceSeriesQuerySchema.parse({})).toEqual({ points: 1000 })
})

test.each([
  [{ points: '9' }],
  [{ points: '10001' }],
  [{ points: 'many' }],
  [{ pool: 'c5.large' }],
  [{ from: '2025-11-20T10:05:00' }],
  [{ from: '2016-12-31T23:59:60Z' }],
  [{ until: '2025-11-20T10:05:00Z' }],
])('%j is no question for a series', (query) => {
  expect(priceSeriesQuerySchema.safeParse(query).success).toBe(false)
})

test('a fetch reaches back 90 days, of at least one type and region', () => {
  const request = { instance_types: ['c5.large'], regions: ['us-gov-west-1'] }
  expect(priceFetchRequestSchema.parse(request)).toEqual({ ...request, days: 90 })
  expect(messagesOf(priceFetchRequestSchema.safeParse({ ...request, days: 91 }))).toEqual([
    'days: EC2 keeps 90 days of spot prices; import a file for what is older',
  ])
  expect(messagesOf(priceFetchRequestSchema.safeParse({ ...request, regions: ['us-east-1a'] }))).toEqual([
    'regions.0: a region looks like us-east-1',
  ])
  expect(messagesOf(priceFetchRequestSchema.safeParse({ ...request, instance_types: ["c5'--"] }))).toEqual([
    'instance_types.0: an instance type looks like c5.large',
  ])
})

test('a scan fills unless it is told not to', () => {
  expect(gapScanRequestSchema.parse({})).toEqual({ fill: true })
  expect(gapScanRequestSchema.safeParse({ pools: [] }).success).toBe(false)
  expect(spotPricesQuerySchema.parse({ limit: '5' })).toEqual({ limit: 5 })
})
