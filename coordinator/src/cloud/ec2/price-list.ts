import { parseUsd } from '@understudy/shared/core/money'
import { parseTimestamp } from '@understudy/shared/market/timestamp'
import { z } from 'zod'
import type { OnDemandPrice } from '../catalog-source.ts'

/** One element of GetProducts' PriceList: a product with its terms, as JSON text (format aws_v1). */
const itemSchema = z.object({
  product: z.object({
    attributes: z.object({
      instanceType: z.string().regex(/^[a-z0-9-]+\.[a-z0-9-]+$/),
      regionCode: z.string(),
      operatingSystem: z.literal('Linux'),
      tenancy: z.literal('Shared'),
      preInstalledSw: z.literal('NA'),
      capacitystatus: z.literal('Used'),
    }),
  }),
  terms: z.object({
    OnDemand: z.record(
      z.string(),
      z.object({
        effectiveDate: z.string().optional(),
        priceDimensions: z.record(
          z.string(),
          z.object({ unit: z.string(), pricePerUnit: z.object({ USD: z.string() }) }),
        ),
      }),
    ),
  }),
})

/** The price in it; undefined for a product that is none of those that are asked for, or has no price in dollars per hour. */
export function readPriceListItem(text: string): OnDemandPrice | undefined {
  const parsed = itemSchema.safeParse(parseJson(text))
  if (!parsed.success) return undefined
  for (const { effectiveDate, priceDimensions } of Object.values(parsed.data.terms.OnDemand))
    for (const { unit, pricePerUnit } of Object.values(priceDimensions)) {
      const price = parseUsd(pricePerUnit.USD)
      // Types that are sold only in capacity blocks stand there with a price of zero.
      if (unit !== 'Hrs' || price === undefined || price <= 0) continue
      const since = parseTimestamp(effectiveDate ?? '')
      const { instanceType, regionCode: region } = parsed.data.product.attributes
      return { instanceType, region, os: 'Linux', price, asOf: typeof since === 'number' ? since : null }
    }
  return undefined
}

/** One price per type and region; of two the lower one, so that savings against it are never overstated. */
export function mergePrices(prices: readonly OnDemandPrice[]): OnDemandPrice[] {
  const byType = new Map<string, OnDemandPrice>()
  for (const price of prices) {
    const key = `${price.region} ${price.instanceType}`
    const other = byType.get(key)
    if (!other || price.price < other.price) byType.set(key, price)
  }
  return [...byType.values()]
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
