import { AppError } from '@understudy/shared/core/app-error'
import { parseUsd } from '@understudy/shared/core/money'
import { type Instant, instant } from '@understudy/shared/core/time'
import { zoneNames } from '@understudy/shared/market/zone'
import { z } from 'zod'
import type { CatalogZone, OnDemandPrice } from '../cloud/catalog-source.ts'
import { toInstanceType, toZone } from '../cloud/ec2/ec2-mapping.ts'
import { mergePrices, readPriceListItem } from '../cloud/ec2/price-list.ts'
import type { CatalogStore, Origin } from './catalog-store.ts'
import { Damaged, openDataFile } from './data-file.ts'
import { parseSpotAdvisor } from './spot-advisor.ts'

export interface CatalogImport {
  readonly kind: 'spot-advisor' | 'instance-types' | 'zones' | 'on-demand'
  readonly rows: number
  readonly refused: number
}

const MOST_BYTES = 256_000_000
const KNOWN =
  'Known are the Spot Advisor file, what the AWS command line prints for describe-instance-types, ' +
  'describe-availability-zones and pricing get-products, and CSV with region,instance_type,ondemand_usd_per_hour.'

/**
 * Takes a file of the catalog, which its content tells; gzip and zstd are unpacked. It replaces what there is of the same kind,
 * as a whole or not at all.
 * @throws AppError `input_invalid`, `not_found`, `protocol`, `payload_too_large`
 */
export async function importCatalogFile(
  file: { readonly path: string; readonly asOf: Instant | null; readonly at: Instant },
  store: CatalogStore,
  signal: AbortSignal,
): Promise<CatalogImport> {
  const text = await readWhole(file.path, signal)
  const origin = (name: string): Origin => ({
    name,
    url: `file:${file.path}`,
    etag: null,
    asOf: file.asOf,
    at: file.at,
  })
  if (!/^\s*[[{]/.test(text)) return keepPrices(readPriceCsv(text), store, origin)
  const content = parseJson(text)
  if (isRecord(content) && 'spot_advisor' in content) {
    const { entries, refused } = parseSpotAdvisor(text)
    await store.replaceAdvisor(entries, origin('spot-advisor'))
    return { kind: 'spot-advisor', rows: entries.length, refused }
  }
  const types = Array.isArray(content) ? content : listOf(content, 'InstanceTypes')
  if (types) {
    const taken = types.flatMap((record) => toInstanceType(record) ?? [])
    mustHave(taken, 'instance type')
    await store.addInstanceTypes(taken, origin('instance-types/file'))
    return { kind: 'instance-types', rows: taken.length, refused: types.length - taken.length }
  }
  const zones = listOf(content, 'AvailabilityZones')
  if (zones) return keepZones(zones, store, origin)
  const prices = listOf(content, 'PriceList')
  if (prices) {
    const taken = prices.flatMap((item) => (typeof item === 'string' ? (readPriceListItem(item) ?? []) : []))
    return keepPrices({ prices: taken, refused: prices.length - taken.length }, store, origin)
  }
  throw new AppError('input_invalid', `${file.path} holds nothing of the catalog that is known`, {
    hint: KNOWN,
  })
}

type OriginOf = (name: string) => Origin

async function keepZones(
  given: readonly unknown[],
  store: CatalogStore,
  origin: OriginOf,
): Promise<CatalogImport> {
  const zones = given.flatMap((record) => toZone(record) ?? [])
  mustHave(zones, 'zone')
  zoneNames(zones)
  for (const [region, own] of byRegion(zones))
    await store.replaceZones(region, own, origin(`zones/${region}`))
  return { kind: 'zones', rows: zones.length, refused: given.length - zones.length }
}

async function keepPrices(
  { prices, refused }: { prices: readonly OnDemandPrice[]; refused: number },
  store: CatalogStore,
  origin: OriginOf,
): Promise<CatalogImport> {
  mustHave(prices, 'on-demand price')
  const merged = mergePrices(prices)
  for (const [region, own] of byRegion(merged))
    await store.replaceOnDemand(region, own, origin(`on-demand/${region}`))
  return { kind: 'on-demand', rows: merged.length, refused }
}

const COLUMNS = ['region', 'instance_type', 'ondemand_usd_per_hour'] as const
const rowSchema = z.tuple([
  z.string().regex(/^[a-z]{2,4}(-[a-z]+)+-\d+$/),
  z.string().regex(/^[a-z0-9-]+\.[a-z0-9-]+$/),
  z.string(),
])

function readPriceCsv(text: string): { prices: OnDemandPrice[]; refused: number } {
  const [heading = '', ...lines] = text.split(/\r?\n/)
  const names = heading.split(',')
  if (!COLUMNS.every((name) => names.includes(name)))
    throw new AppError('input_invalid', 'the file holds nothing of the catalog that is known', {
      hint: KNOWN,
    })
  const prices: OnDemandPrice[] = []
  let refused = 0
  for (const line of lines) {
    if (line === '') continue
    const cells = line.split(',')
    const row = rowSchema.safeParse(COLUMNS.map((name) => cells[names.indexOf(name)]))
    const price = row.success ? parseUsd(row.data[2]) : undefined
    if (row.success && price !== undefined && price > 0)
      prices.push({ region: row.data[0], instanceType: row.data[1], os: 'Linux', price, asOf: null })
    else refused += 1
  }
  return { prices, refused }
}

async function readWhole(path: string, signal: AbortSignal): Promise<string> {
  const file = await openDataFile(path)
  const pieces: Buffer[] = []
  let size = 0
  try {
    for await (const piece of file.chunks(signal)) {
      size += piece.length
      if (size > MOST_BYTES)
        throw new AppError('payload_too_large', `${path} has more than ${MOST_BYTES / 1e6} MB`, {
          hint: KNOWN,
        })
      pieces.push(piece)
    }
  } catch (cause) {
    if (!(cause instanceof Damaged)) throw cause
    throw new AppError(
      'input_invalid',
      `${path} cannot be read to its end (${cause.message}); nothing was changed`,
      {
        hint: 'Get the file again.',
        cause,
      },
    )
  }
  return Buffer.concat(pieces).toString('utf8')
}

function byRegion<T extends { readonly region: string }>(items: readonly T[]): Map<string, T[]> {
  return Map.groupBy(items, ({ region }) => region)
}

function mustHave(items: readonly unknown[], what: string): void {
  if (items.length === 0)
    throw new AppError('input_invalid', `the file has no ${what} that could be read`, { hint: KNOWN })
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null

function listOf(content: unknown, key: string): readonly unknown[] | undefined {
  const list = isRecord(content) ? content[key] : undefined
  return Array.isArray(list) ? list : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new AppError('input_invalid', 'the file is no JSON, or was cut off; nothing was changed', { cause })
  }
}

/** When the data is from, given by whoever imports it. @throws AppError `input_invalid` */
export function parseAsOf(text: string, now: Instant): Instant {
  const at = Date.parse(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text)
  if (Number.isNaN(at) || at > now || at < Date.UTC(2009, 11, 14))
    throw new AppError(
      'input_invalid',
      `--as-of is "${text}": it must be a day in the past, such as 2025-06-28`,
    )
  return instant(at)
}

/** Zones in a file that DescribeAvailabilityZones gave, for files of prices with zone ids. */
export async function readZoneFile(path: string, signal: AbortSignal): Promise<readonly CatalogZone[]> {
  const zones = listOf(parseJson(await readWhole(path, signal)), 'AvailabilityZones') ?? []
  const known = zones.flatMap((record) => toZone(record) ?? [])
  mustHave(known, 'zone')
  return known
}
