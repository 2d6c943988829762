import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { type MicroUsd, parseUsd } from '@understudy/shared/core/money'
import type { Instant } from '@understudy/shared/core/time'
import { isPoolId, poolId } from '@understudy/shared/market/pool'
import { parseTimestamp } from '@understudy/shared/market/timestamp'
import type { Ec2Query } from './ec2-query.ts'
import { childOf, textOf, type XmlElement } from './xml.ts'

const ACTION = 'DescribeSpotPriceHistory'
const PRODUCT = 'Linux/UNIX'
/** A page may be empty and still not be the last one. No region has as many pages of what is asked for here. */
const MAX_PAGES = 100

export interface CurrentPrices {
  /** When they held, by the time of AWS. */
  readonly at: Instant
  /** By pool id. */
  readonly prices: ReadonlyMap<string, MicroUsd>
  /** Types that EC2 does not know, or does not sell here. */
  readonly missing: readonly string[]
}

interface Row {
  readonly pool: string
  readonly price: MicroUsd
  readonly since: Instant
}

/**
 * What every pool of these types in the region costs now. A row of EC2 is a change of price, and the last one before
 * StartTime is always there, so from now on is enough. One type that EC2 does not know does not hide the others.
 * @throws AppError as `Ec2Query.call`
 */
export async function readCurrentPrices(
  ec2: Ec2Query,
  types: readonly string[],
  signal?: AbortSignal,
): Promise<CurrentPrices> {
  const { skew } = ec2
  let at = ec2.now()
  let rows = await readKnown(ec2, types, at, signal)
  if (ec2.skew !== skew) {
    // Our clock was wrong, so that was not now.
    at = ec2.now()
    rows = await readKnown(ec2, types, at, signal)
  }
  const newest = new Map<string, Row>()
  for (const row of rows) {
    const known = newest.get(row.pool)
    if (!known || row.since > known.since) newest.set(row.pool, row)
  }
  const prices = new Map(
    [...newest].sort(([a], [b]) => (a < b ? -1 : 1)).map(([pool, { price }]) => [pool, price]),
  )
  const found = new Set([...prices.keys()].map((pool) => pool.split('@')[0]))
  return { at, prices, missing: types.filter((type) => !found.has(type)) }
}

async function readKnown(
  ec2: Ec2Query,
  types: readonly string[],
  at: Instant,
  signal: AbortSignal | undefined,
): Promise<Row[]> {
  try {
    return await readAllPages(ec2, types, at, signal)
  } catch (error) {
    if (!isAppError(error, 'input_invalid')) throw error
    if (types.length < 2) return []
  }
  const rows: Row[] = []
  for (const type of types) rows.push(...(await readKnown(ec2, [type], at, signal)))
  return rows
}

async function readAllPages(
  ec2: Ec2Query,
  types: readonly string[],
  at: Instant,
  signal: AbortSignal | undefined,
): Promise<Row[]> {
  const start = new Date(at).toISOString()
  const rows: Row[] = []
  const seen = new Set<string>()
  for (let token = ''; ; ) {
    const answer = await ec2.call(
      ACTION,
      {
        StartTime: start,
        EndTime: start,
        MaxResults: '1000',
        'ProductDescription.1': PRODUCT,
        ...Object.fromEntries(types.map((type, index) => [`InstanceType.${index + 1}`, type])),
        ...(token === '' ? {} : { NextToken: token }),
      },
      signal,
    )
    rows.push(...rowsOf(answer))
    token = textOf(answer, 'nextToken') ?? ''
    if (token === '') return rows
    if (seen.has(token) || seen.size >= MAX_PAGES)
      throw new AppError('protocol', `the pages of ec2:${ACTION} have no end`, { retryable: true })
    seen.add(token)
  }
}

/** @throws AppError `protocol` when it is the answer to something else */
function rowsOf(answer: XmlElement): Row[] {
  const set = childOf(answer, 'spotPriceHistorySet')
  if (answer.name !== `${ACTION}Response` || !set)
    throw new AppError('protocol', `the answer to ec2:${ACTION} is <${answer.name}>`, {
      hint: 'Check ec2_endpoint: it must be the EC2 API of this region.',
    })
  return set.children.flatMap((item) => toRow(item) ?? [])
}

/** A row that is not as documented is left out; a price of zero is none. */
function toRow(item: XmlElement): Row | undefined {
  if (textOf(item, 'productDescription') !== PRODUCT) return undefined
  const pool = poolId({
    instanceType: textOf(item, 'instanceType') ?? '',
    availabilityZone: textOf(item, 'availabilityZone') ?? '',
  })
  const price = parseUsd(textOf(item, 'spotPrice') ?? '')
  const since = parseTimestamp(textOf(item, 'timestamp') ?? '')
  if (!isPoolId(pool) || price === undefined || price <= 0 || typeof since !== 'number') return undefined
  return { pool, price, since }
}
