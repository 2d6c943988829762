import { AppError } from '@understudy/shared/core/app-error'
import { type Instant, type Millis, millis } from '@understudy/shared/core/time'
import type { PriceChange } from '@understudy/shared/market/history'
import { lengthOf } from '@understudy/shared/market/interval'
import { isPoolId, regionOf } from '@understudy/shared/market/pool'
import { checkSample, isRefusal, type Known, type Refusal } from '@understudy/shared/market/sample'
import { isZoneId } from '@understudy/shared/market/zone'
import { Damaged, type DataFile, openDataFile } from './data-file.ts'
import type { HistorySink } from './history-sink.ts'
import { type CoverageResult, createFileCoverage, type FileCoverage } from './import-coverage.ts'
import {
  detectFormat,
  type FileRow,
  isBroken,
  type PriceFormat,
  type ReadRow,
  rowReaders,
} from './import-formats.ts'
import { createRefusals, type RefusalSummary, type Refusals } from './refusals.ts'

export interface ImportRequest {
  readonly path: string
  /** Found out from the content when it is not given. */
  readonly format?: PriceFormat | undefined
  /** Takes only rows of that region. */
  readonly region?: string | undefined
}

export interface ImportParts {
  readonly sink: HistorySink
  readonly known: Known
  /** This account's name of the zone with that id; undefined when it is not known. */
  zoneName(zoneId: string): string | undefined
  onProgress?(progress: { readonly rows: number; readonly fraction: number }): void
}

export interface ImportReport {
  readonly format: PriceFormat
  readonly rows: number
  readonly pools: number
  /** Of the first and of the last row that was taken. */
  readonly from: Instant | null
  readonly to: Instant | null
  readonly refused: RefusalSummary
  /** Rows of other products or regions: no mistake, and nothing of them is kept. */
  readonly skipped: { readonly otherProduct: number; readonly otherRegion: number }
  readonly order: CoverageResult['order']
  readonly breaks: CoverageResult['breaks']
  readonly coveredPools: number
  /** Summed over pools. */
  readonly covered: Millis
  /** Why the file could not be read to its end; null when it could. */
  readonly damaged: string | null
}

/** Rows in memory before they are recorded. */
const BATCH = 100_000
/** More than EC2 has; what has more is no price file. */
const MOST_POOLS = 200_000

/**
 * Reads a file of price changes into the market, in bounded memory. Rows that are refused are counted and the rest kept; of a
 * damaged file what was whole is kept. Coverage is recorded last and only as far as the file supports it (import-coverage.ts),
 * so an import that is interrupted leaves rows and no coverage. Doing it again changes nothing.
 * @throws AppError `input_invalid` when it is no price file, `not_found`
 */
export async function importPrices(
  request: ImportRequest,
  parts: ImportParts,
  signal: AbortSignal,
): Promise<ImportReport> {
  const file = await openDataFile(request.path)
  const { format, chunks } = await withFormat(file, request.format, signal)
  const intake = createIntake(request, parts)
  const damaged = await readAll(
    rowReaders[format](chunks, { endIsSure: file.compression !== 'none' }),
    async (rows) => {
      for (const row of rows) intake.take(row)
      if (intake.waiting() >= BATCH) await intake.flush()
      parts.onProgress?.({ rows: intake.rows(), fraction: file.size === 0 ? 1 : file.read() / file.size })
    },
  )
  await intake.flush()
  return { format, damaged, ...(await intake.finish(damaged === null)) }
}

/** Why reading ended too early, or null. */
async function readAll(
  reader: AsyncIterable<readonly ReadRow[]>,
  take: (rows: readonly ReadRow[]) => Promise<void>,
): Promise<string | null> {
  try {
    for await (const rows of reader) await take(rows)
    return null
  } catch (error) {
    if (error instanceof Damaged) return error.message
    throw error
  }
}

/** Looks at the first piece, and gives all pieces back. */
async function withFormat(file: DataFile, given: PriceFormat | undefined, signal: AbortSignal) {
  const source = file.chunks(signal)
  let first: IteratorResult<Buffer>
  try {
    first = await source.next()
  } catch (error) {
    if (!(error instanceof Damaged)) throw error
    throw new AppError('input_invalid', `nothing of the file can be read (${error.message})`, {
      cause: error,
    })
  }
  if (first.done) throw new AppError('input_invalid', 'the file is empty')
  const head = first.value
  async function* chunks() {
    yield head
    yield* source
  }
  try {
    return { format: given ?? detectFormat(head.toString('utf8')), chunks: chunks() }
  } catch (error) {
    await source.return(undefined)
    throw error
  }
}

function createIntake({ region: only }: ImportRequest, parts: ImportParts) {
  const { sink, known } = parts
  const refusals = createRefusals()
  const coverage = createFileCoverage()
  const pools = new Set<string>()
  let buffer = new Map<string, PriceChange[]>()
  let [buffered, rows, otherProduct, otherRegion] = [0, 0, 0, 0]
  let from: Instant | null = null
  let to: Instant | null = null

  function accept(poolId: string, at: Instant, price: PriceChange['price']): void {
    coverage.add(poolId, regionOf(poolId.slice(poolId.indexOf('@') + 1)), at)
    const changes = buffer.get(poolId) ?? []
    buffer.set(poolId, changes)
    changes.push({ at, price })
    pools.add(poolId)
    if (pools.size > MOST_POOLS)
      throw new AppError(
        'input_invalid',
        `the file names more than ${MOST_POOLS} pools: EC2 has not that many`,
      )
    buffered += 1
    rows += 1
    if (from === null || at < from) from = at
    if (to === null || at > to) to = at
  }

  return {
    rows: () => rows,
    waiting: () => buffered,
    take(row: ReadRow): void {
      if (isBroken(row)) {
        refusals.add({ code: 'row_malformed', reason: row.broken }, row.where)
        return coverage.loseSomewhere()
      }
      if (row.product !== undefined && row.product !== 'Linux/UNIX') {
        otherProduct += 1
        return
      }
      const zone = isZoneId(row.zone) ? parts.zoneName(row.zone) : row.zone
      if (only !== undefined && zone !== undefined && regionOf(zone) !== only) {
        otherRegion += 1
        return
      }
      if (zone === undefined) return refusals.add(unknownZone(row.zone), row.where)
      takeChecked(row, `${row.instanceType}@${zone}`, { known, refusals, coverage, accept })
    },
    async flush(): Promise<void> {
      const full = buffer
      buffer = new Map()
      buffered = 0
      for (const [pool, changes] of full) await sink.recordHistory(pool, changes, [], 'import')
    },
    async finish(whole: boolean) {
      const { order, covered, breaks } = coverage.finish(whole)
      let sum = 0
      for (const [pool, intervals] of covered) {
        await sink.recordHistory(pool, [], intervals, 'import')
        sum += lengthOf(intervals)
      }
      return {
        rows,
        pools: pools.size,
        from,
        to,
        refused: refusals.summary(),
        skipped: { otherProduct, otherRegion },
        order,
        breaks,
        coveredPools: covered.size,
        covered: millis(sum),
      }
    },
  }
}

const unknownZone = (zoneId: string): Refusal => ({
  code: 'zone_unknown',
  reason: `which zone ${zoneId} is in this account is not known; names of zones differ from account to account`,
})

function takeChecked(
  row: FileRow,
  pool: string,
  ports: {
    readonly known: Known
    readonly refusals: Refusals
    readonly coverage: FileCoverage
    accept(poolId: string, at: Instant, price: PriceChange['price']): void
  },
): void {
  const sample = checkSample({ pool, at: row.at, price: row.price }, ports.known)
  if (!isRefusal(sample)) return ports.accept(sample.poolId, sample.at, sample.price)
  ports.refusals.add(sample, row.where)
  if (!isPoolId(pool)) return ports.coverage.loseSomewhere()
  // The price says nothing of the time: with a good one in its place the row shows when it was.
  const timed = checkSample({ pool, at: row.at, price: 1 }, { ...ports.known, onDemand: () => undefined })
  ports.coverage.lose(pool, isRefusal(timed) ? undefined : timed.at)
}

/** What the command says of a file that breaks off. */
export const damagedError = (path: string, { damaged, rows }: ImportReport): AppError =>
  new AppError(
    'state_unreadable',
    `${path} could not be read to its end (${damaged ?? ''}): ${rows} rows before that were kept`,
    {
      hint: 'Get the file again and import it again: what is there already does no harm.',
    },
  )
