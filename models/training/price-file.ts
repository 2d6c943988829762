import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import { AppError } from '../../shared/src/core/app-error.ts'
import { fromUsd, type MicroUsd } from '../../shared/src/core/money.ts'
import type { Instant } from '../../shared/src/core/time.ts'
import type { Pool } from '../../shared/src/market/pool.ts'
import type { PriceEvent } from '../../shared/src/market/price-path.ts'

/** Every row of one pool, repeats included: when a price was said again tells how far the history reaches. */
export interface PoolHistory {
  readonly pool: Pool
  readonly events: PriceEvent[]
}

export interface PriceFile {
  readonly histories: readonly PoolHistory[]
  /** Rows left out because the price was zero or below. */
  readonly dropped: number
}

/** Names under which the columns are known. */
const COLUMNS = {
  at: ['timestamp', 'time'],
  zone: ['availability_zone', 'availabilityzone', 'az', 'availability_zone_id'],
  type: ['instance_type', 'instancetype'],
  price: ['spot_price_usd_per_hour', 'spot_price', 'spotprice', 'price'],
  product: ['product_description', 'productdescription', 'product'],
} as const

/** A zone's name (`sa-east-1a`) or id (`sae1-az1`). */
const ZONE = /^[a-z]{2}(?:-[a-z]+)+-\d[a-z]$|^[a-z]+\d-az\d+$/
const TYPE = /^[a-z0-9-]+\.[a-z0-9-]+$/

/**
 * Reads a CSV of spot prices with a heading, plain or gzipped. Where it has a product column only Linux/UNIX counts.
 * @throws AppError `input_invalid` with the number of the line
 */
export async function readPriceFile(file: string): Promise<PriceFile> {
  const pools = new Map<string, PoolHistory>()
  let take: ((line: string, number: number) => void) | undefined
  let number = 0
  let dropped = 0
  for await (const line of linesOf(file)) {
    number += 1
    if (line === '') continue
    if (take) {
      take(line, number)
      continue
    }
    const field = fieldsOf(line, file)
    take = (row, at) => {
      const cells = row.split(',')
      const product = field(cells, 'product')
      if (product !== '' && product !== 'Linux/UNIX') return
      const event = { at: toTime(field(cells, 'at')), price: toPrice(field(cells, 'price')) }
      const pool = { instanceType: field(cells, 'type'), availabilityZone: field(cells, 'zone') }
      if (
        !event.at ||
        event.price === undefined ||
        !ZONE.test(pool.availabilityZone) ||
        !TYPE.test(pool.instanceType)
      )
        throw badLine(file, at, row)
      if (event.price <= 0) {
        dropped += 1
        return
      }
      const key = `${pool.instanceType}@${pool.availabilityZone}`
      const history = pools.get(key) ?? { pool, events: [] }
      pools.set(key, history)
      history.events.push({ at: event.at, price: event.price })
    }
  }
  if (pools.size === 0)
    throw new AppError('input_invalid', `${file} has no prices`, {
      hint: 'It needs a heading and one row per price.',
    })
  return { histories: [...pools.values()], dropped }
}

type Field = (cells: readonly string[], name: keyof typeof COLUMNS) => string

function fieldsOf(heading: string, file: string): Field {
  const cells = heading.toLowerCase().split(',')
  const place = (name: keyof typeof COLUMNS) =>
    cells.findIndex((cell) => (COLUMNS[name] as readonly string[]).includes(cell.trim()))
  const at = {
    at: place('at'),
    zone: place('zone'),
    type: place('type'),
    price: place('price'),
    product: place('product'),
  }
  for (const name of ['at', 'zone', 'type', 'price'] as const)
    if (at[name] < 0)
      throw new AppError('input_invalid', `${file} has no column ${COLUMNS[name][0]}`, {
        hint: `The heading must name ${COLUMNS.at[0]}, ${COLUMNS.zone[0]}, ${COLUMNS.type[0]} and ${COLUMNS.price[0]}.`,
      })
  return (row, name) => (at[name] < 0 ? '' : (row[at[name]] ?? '').trim())
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const raw = createReadStream(file)
  const source = file.endsWith('.gz') ? raw.pipe(createGunzip()) : raw
  raw.once('error', (error) => source.destroy(error))
  yield* createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY })
}

/** A time without a zone is UTC. */
function toTime(text: string): Instant | undefined {
  const time = Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text.replace(' ', 'T')}Z`)
  return Number.isNaN(time) ? undefined : (time as Instant)
}

function toPrice(text: string): MicroUsd | undefined {
  const usd = Number(text)
  if (text === '' || !Number.isFinite(usd)) return undefined
  return usd <= 0 ? (0 as MicroUsd) : fromUsd(usd)
}

const badLine = (file: string, line: number, row: string) =>
  new AppError('input_invalid', `${file}, line ${line}: "${row.slice(0, 80)}" is not a price`, {
    hint: 'Expected a time, a zone such as sa-east-1a, a type such as c5.large and a price in USD per hour.',
  })

/** On-demand prices of one region by type, from a CSV with `region`, `instance_type` and `ondemand_usd_per_hour`. */
export async function readOnDemandFile(file: string, region: string): Promise<Map<string, MicroUsd>> {
  const prices = new Map<string, MicroUsd>()
  let heading: string[] | undefined
  for await (const line of linesOf(file)) {
    const cells = line.split(',')
    if (!heading) {
      heading = cells
      if (!['region', 'instance_type', 'ondemand_usd_per_hour'].every((name) => cells.includes(name)))
        throw new AppError('input_invalid', `${file} is not a list of on-demand prices`, {
          hint: 'It needs the columns region, instance_type and ondemand_usd_per_hour.',
        })
      continue
    }
    const cell = (name: string) => cells[heading?.indexOf(name) ?? -1] ?? ''
    const price = toPrice(cell('ondemand_usd_per_hour'))
    if (cell('region') === region && price) prices.set(cell('instance_type'), price)
  }
  return prices
}
