import { JSONParser } from '@streamparser/json'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { Damaged } from './data-file.ts'

export const priceFormats = ['csv', 'json', 'tsv'] as const
export type PriceFormat = (typeof priceFormats)[number]

/** A row as the file has it; nothing in it is checked. */
export interface FileRow {
  /** Such as `line 17`. */
  readonly where: string
  /** A zone's name, or in a TSV file its id. */
  readonly zone: string
  readonly instanceType: string
  /** Undefined where the format holds no other than Linux/UNIX. */
  readonly product: string | undefined
  readonly at: unknown
  readonly price: unknown
}

/** A row of which nothing can be read. */
export interface BrokenRow {
  readonly where: string
  readonly broken: string
}

export type ReadRow = FileRow | BrokenRow
export const isBroken = (row: ReadRow): row is BrokenRow => 'broken' in row

type Chunks = AsyncIterable<Buffer>
/** In batches, as they come. @throws Damaged, after all rows that were whole; AppError `input_invalid` */
export type RowReader = (chunks: Chunks, options: ReadOptions) => AsyncGenerator<readonly ReadRow[]>

export interface ReadOptions {
  /** Whether the file's own checksum says that its last line is whole. */
  readonly endIsSure: boolean
}

/** Longer than any row, in characters. */
const LONGEST_LINE = 64 * 1024
const NOT_PRICES = 'Prices are read as CSV, as the JSON of DescribeSpotPriceHistory, or as TSV with zone ids.'

/** By its first character that is not blank, and its first line. */
export function detectFormat(start: string): PriceFormat {
  const text = start.replace(/^\uFEFF/, '').trimStart()
  if (text.startsWith('{')) return 'json'
  const [line = ''] = text.split('\n', 1)
  if (line.includes('\t')) return 'tsv'
  if (line.includes(',')) return 'csv'
  throw new AppError('input_invalid', 'the file holds no prices in a form that is known', {
    hint: NOT_PRICES,
  })
}

/** Line by line; a line that breaks off in the middle is a broken row. */
async function* lines(
  chunks: Chunks,
  { endIsSure }: ReadOptions,
): AsyncGenerator<{ full: string[]; half?: string }> {
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for await (const chunk of chunks) {
      const full = (rest + decoder.decode(chunk, { stream: true })).split('\n')
      rest = full.pop() ?? ''
      if (rest.length > LONGEST_LINE)
        throw new AppError('input_invalid', 'the file has a line that is far too long for a price', {
          hint: NOT_PRICES,
        })
      if (full.length > 0) yield { full }
    }
  } catch (error) {
    if (error instanceof Damaged && rest !== '') yield { full: [], half: rest }
    throw error
  }
  if (rest !== '') yield endIsSure ? { full: [rest] } : { full: [], half: rest }
}

async function* rowsOfLines(
  chunks: Chunks,
  options: ReadOptions,
  read: (line: string, number: number) => ReadRow | undefined,
): AsyncGenerator<readonly ReadRow[]> {
  let number = 0
  for await (const { full, half } of lines(chunks, options)) {
    const rows: ReadRow[] = []
    for (const line of full) {
      number += 1
      const text = line.endsWith('\r') ? line.slice(0, -1) : line
      const row = text === '' ? undefined : read(text, number)
      if (row) rows.push(row)
    }
    if (half !== undefined)
      rows.push({ where: `line ${number + 1}`, broken: 'the file ends in the middle of this line' })
    yield rows
  }
}

const CSV_COLUMNS = ['timestamp', 'availability_zone', 'instance_type', 'spot_price_usd_per_hour'] as const

/** With a heading; further columns are passed over. */
async function* readCsv(chunks: Chunks, options: ReadOptions): AsyncGenerator<readonly ReadRow[]> {
  let columns: readonly number[] | undefined
  let width = 0
  yield* rowsOfLines(chunks, options, (line, number) => {
    const cells = line.split(',').map(unquoted)
    if (columns === undefined) {
      columns = columnsOf(cells)
      width = cells.length
      return undefined
    }
    const where = `line ${number}`
    if (cells.length !== width)
      return { where, broken: `it has ${cells.length} columns where the heading has ${width}` }
    const [at, zone, instanceType, price] = columns.map((index) => cells[index] ?? '')
    return { where, zone: zone ?? '', instanceType: instanceType ?? '', product: undefined, at, price }
  })
}

const unquoted = (cell: string): string => cell.trim().replace(/^"(.*)"$/, '$1')

function columnsOf(heading: readonly string[]): readonly number[] {
  const names = heading.map((name) => name.replace(/^\uFEFF/, '').replace(/^"|"$/g, ''))
  const missing = CSV_COLUMNS.filter((name) => !names.includes(name))
  if (missing.length === 0) return CSV_COLUMNS.map((name) => names.indexOf(name))
  throw new AppError('input_invalid', `the heading of the CSV file lacks ${missing.join(', ')}`, {
    hint: `Its first line must name ${CSV_COLUMNS.join(',')}.`,
  })
}

/** Zone id, type, product, price, time; no heading. The form of the Zenodo archive 10.5281/zenodo.14198917. */
async function* readTsv(chunks: Chunks, options: ReadOptions): AsyncGenerator<readonly ReadRow[]> {
  yield* rowsOfLines(chunks, options, (line, number) => {
    const where = `line ${number}`
    const cells = line.split('\t')
    if (cells.length !== 5) return { where, broken: `it has ${cells.length} columns where 5 are expected` }
    const [zone = '', instanceType = '', product, price, at] = cells
    return { where, zone, instanceType, product, at, price }
  })
}

/** What the API and the AWS command line print: one object, or several after each other, each with its page of rows. */
async function* readJson(chunks: Chunks): AsyncGenerator<readonly ReadRow[]> {
  let rows: ReadRow[] = []
  let count = 0
  let [documents, following] = [0, 0]
  const parser = new JSONParser({
    paths: ['$.SpotPriceHistory.*', '$.NextToken'],
    keepStack: false,
    separator: '',
  })
  parser.onValue = ({ value, key }) => {
    if (key === 'NextToken') following += typeof value === 'string' && value !== '' ? 1 : 0
    else {
      if (key === 0) documents += 1
      count += 1
      rows.push(toFileRow(value, `row ${count}`))
    }
  }
  // Otherwise the parser throws from within itself, where nobody can catch it.
  let failure: unknown
  parser.onError = (error) => {
    failure = error
  }
  let sinceRow = 0
  for await (const chunk of chunks) {
    parser.write(chunk)
    if (failure !== undefined) break
    sinceRow = rows.length > 0 ? 0 : sinceRow + chunk.length
    if (sinceRow > 64 * LONGEST_LINE)
      throw new AppError('input_invalid', 'the JSON file holds no list SpotPriceHistory', {
        hint: NOT_PRICES,
      })
    yield rows
    rows = []
  }
  if (rows.length > 0) yield rows
  if (failure === undefined) parser.end()
  if (failure !== undefined) throw new Damaged(`JSON: ${messageOf(failure)}`)
  if (count === 0)
    throw new AppError('input_invalid', 'the JSON file has no rows in SpotPriceHistory', { hint: NOT_PRICES })
  // Each page but the last one names a next one.
  if (following >= documents)
    throw new Damaged('the file holds pages of an answer and names a next one, which is not in it')
}

function toFileRow(value: unknown, where: string): ReadRow {
  if (typeof value !== 'object' || value === null) return { where, broken: 'it is not an object' }
  const { AvailabilityZone, InstanceType, ProductDescription, SpotPrice, Timestamp } = value as Record<
    string,
    unknown
  >
  if (typeof AvailabilityZone !== 'string' || typeof InstanceType !== 'string')
    return { where, broken: 'it has no AvailabilityZone or no InstanceType' }
  const product = typeof ProductDescription === 'string' ? ProductDescription : undefined
  return {
    where,
    zone: AvailabilityZone,
    instanceType: InstanceType,
    product,
    at: Timestamp,
    price: SpotPrice,
  }
}

export const rowReaders: Readonly<Record<PriceFormat, RowReader>> = {
  csv: readCsv,
  json: readJson,
  tsv: readTsv,
}
