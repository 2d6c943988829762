import { flag, number, type OptionTable } from '@understudy/shared/core/options'
import { z } from 'zod'

const TYPE = /^[a-z0-9-]+\.[a-z0-9-]+$/

/** A list, also written as text with commas. */
const types = z.preprocess(
  (value) =>
    typeof value === 'string'
      ? value
          .split(',')
          .map((name) => name.trim())
          .filter((name) => name !== '')
      : value,
  z
    .array(z.string().max(64).regex(TYPE, 'must be instance types, such as [c5.large, m5.large]'), {
      error: 'must be a list of instance types, such as [c5.large, m5.large]',
    })
    .max(50)
    .default([]),
)

const isLoopback = (text: string): boolean =>
  /^(127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/.test(new URL(text).hostname)

const endpoint = z
  .url({ protocol: /^https?$/, error: 'must be an http or https address' })
  .refine((text) => text.startsWith('https:') || isLoopback(text), {
    error: 'must be an https address: the session token of the role goes over it',
  })
  .refine((text) => ['/', ''].includes(new URL(text).pathname) && new URL(text).search === '', {
    error: 'must be the address of a host, without a path',
  })
  .refine((text) => new URL(text).username === '' && new URL(text).password === '', {
    error: 'must not hold credentials: they come from the role of the instance',
  })

/** Settings of price sampling (docs/market.md). */
export const marketOptions = {
  price_sampling: {
    schema: flag().default(true),
    env: 'UNDERSTUDY_PRICE_SAMPLING',
    doc: 'Spot prices are sampled with the role of the instance, which has to allow `ec2:DescribeSpotPriceHistory`',
  },
  price_interval: {
    schema: number(1, 300).default(300),
    env: 'UNDERSTUDY_PRICE_INTERVAL',
    value: '<seconds>',
    doc: 'How often prices are sampled, in seconds; they are kept for buckets of 300',
  },
  alternative_types: {
    schema: types,
    env: 'UNDERSTUDY_ALTERNATIVE_TYPES',
    value: '<types>',
    doc: 'Instance types, beside its own, whose prices are sampled in every zone of the region; with commas between them',
  },
  ec2_endpoint: {
    schema: endpoint.optional(),
    env: 'UNDERSTUDY_EC2_ENDPOINT',
    value: '<url>',
    doc: 'Address of the EC2 API, if it is not the public one of the region: that of a VPC endpoint',
  },
} as const satisfies OptionTable
