import type { MicroUsd } from '@understudy/shared/core/money'
import { hours, type Instant, instant } from '@understudy/shared/core/time'
import type { Pool } from '@understudy/shared/market/pool'
import { parseTimestamp } from '@understudy/shared/market/timestamp'
import { type CatalogPool, zoneIdOf } from './catalog.ts'
import { Ec2Refusal } from './ec2-refusal.ts'
import type { PriceHistory } from './price-history.ts'

/** The one product that the simulated region has. */
const PRODUCT = 'Linux/UNIX'
/** As far back as EC2 knows. */
const REACH = hours(90 * 24)
const MOST_ROWS = 1000

export interface HistoryRow {
  readonly pool: Pool
  readonly zoneId: string
  readonly product: string
  readonly price: MicroUsd
  readonly at: Instant
}

export interface HistoryPage {
  /** Newest first, as EC2 gives them. */
  readonly rows: readonly HistoryRow[]
  readonly nextToken: string | undefined
}

/** DescribeSpotPriceHistory: changes of price within the window, and for each pool the one that held at its start. */
export function findPriceHistory(
  form: URLSearchParams,
  pools: readonly CatalogPool[],
  history: PriceHistory,
  now: Instant,
): HistoryPage {
  const most = pageSizeOf(form)
  const token = readToken(form.get('NextToken'))
  const oldest = instant(now - REACH)
  const from = timeOf(form, 'StartTime') ?? oldest
  // The next pages end where the first one did, or what is new would push rows onto them again.
  const to = token?.end ?? timeOf(form, 'EndTime') ?? now
  const rows = pools
    .filter(wantedBy(form))
    .flatMap(({ id, pool }) =>
      history
        .between(id, instant(Math.max(from, oldest)), to)
        .map((change) => ({ ...change, pool, zoneId: zoneIdOf(pool.availabilityZone), product: PRODUCT })),
    )
    .sort((a, b) => b.at - a.at)
  const begin = token?.offset ?? 0
  const end = begin + most
  return {
    rows: rows.slice(begin, end),
    nextToken: end < rows.length ? writeToken({ offset: end, end: to }) : undefined,
  }
}

/** Every list that is given must have the pool's value in it. @throws Ec2Refusal */
function wantedBy(form: URLSearchParams): (entry: CatalogPool) => boolean {
  const types = list(form, 'InstanceType')
  for (const type of types)
    if (!/^[a-z][a-z0-9-]*\.[a-z0-9-]+$/.test(type))
      throw new Ec2Refusal(
        'InvalidParameterValue',
        400,
        `The following supplied instance types do not exist: [${type}]`,
      )
  const filters = filtersOf(form)
  const wanted: [Set<string>, (entry: CatalogPool) => string][] = [
    [new Set(types), typeOf],
    [new Set(list(form, 'ProductDescription')), () => PRODUCT],
    [new Set(one(form, 'AvailabilityZone')), zoneOf],
    [new Set(one(form, 'AvailabilityZoneId')), (entry) => zoneIdOf(zoneOf(entry))],
    ...filters.map(({ name, values }): [Set<string>, (entry: CatalogPool) => string] => [
      values,
      filterable(name),
    ]),
  ]
  return (entry) => wanted.every(([values, of]) => values.size === 0 || values.has(of(entry)))
}

const typeOf = ({ pool }: CatalogPool): string => pool.instanceType
const zoneOf = ({ pool }: CatalogPool): string => pool.availabilityZone

function filterable(name: string): (entry: CatalogPool) => string {
  if (name === 'instance-type') return typeOf
  if (name === 'availability-zone') return zoneOf
  if (name === 'product-description') return () => PRODUCT
  throw new Ec2Refusal('InvalidParameterValue', 400, `The filter '${name}' is invalid`)
}

function filtersOf(form: URLSearchParams): { name: string; values: Set<string> }[] {
  const filters = []
  for (let index = 1; form.has(`Filter.${index}.Name`); index += 1)
    filters.push({
      name: form.get(`Filter.${index}.Name`) ?? '',
      values: new Set(list(form, `Filter.${index}.Value`)),
    })
  return filters
}

const list = (form: URLSearchParams, name: string): string[] =>
  [...form].flatMap(([key, value]) =>
    key.startsWith(`${name}.`) && /^\d+$/.test(key.slice(name.length + 1)) ? [value] : [],
  )

const one = (form: URLSearchParams, name: string): string[] => {
  const value = form.get(name)
  return value === null ? [] : [value]
}

function timeOf(form: URLSearchParams, name: string): Instant | undefined {
  const text = form.get(name)
  if (text === null) return undefined
  const time = parseTimestamp(text)
  if (typeof time === 'number') return time
  throw new Ec2Refusal('InvalidParameterValue', 400, `Value (${text}) for parameter ${name} is invalid.`)
}

/** 0 and nothing mean as many as there can be. */
function pageSizeOf(form: URLSearchParams): number {
  const text = form.get('MaxResults') ?? '0'
  const most = Number(text)
  if (!Number.isInteger(most) || most < 0)
    throw new Ec2Refusal('InvalidParameterValue', 400, `Value (${text}) for parameter MaxResults is invalid.`)
  return most === 0 ? MOST_ROWS : Math.min(most, MOST_ROWS)
}

interface Place {
  readonly offset: number
  readonly end: Instant
}

const writeToken = ({ offset, end }: Place): string => Buffer.from(`${offset} ${end}`).toString('base64url')

function readToken(text: string | null): Place | undefined {
  if (text === null || text === '') return undefined
  const match = /^(\d{1,9}) (\d{1,15})$/.exec(Buffer.from(text, 'base64url').toString('utf8'))
  if (!match)
    throw new Ec2Refusal('InvalidPaginationToken', 400, 'The pagination token is not valid or has expired.')
  return { offset: Number(match[1]), end: instant(Number(match[2])) }
}
