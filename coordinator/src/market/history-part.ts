import { type Instant, instant, type Millis, plus } from '@understudy/shared/core/time'
import type { PriceChange } from '@understudy/shared/market/history'
import { type Interval, minus } from '@understudy/shared/market/interval'
import { isPoolId } from '@understudy/shared/market/pool'
import { checkSample, type GivenSample, isRefusal, type Known } from '@understudy/shared/market/sample'
import type { HistoryQuery, HistorySource } from '../cloud/history-source.ts'
import type { HistorySink } from './history-sink.ts'
import type { Refusals } from './refusals.ts'

export interface PartOutcome {
  /** Rows that were taken, repeated ones included. */
  readonly rows: number
  /** Pools that gave at least one row, with what is covered of each. A pool that is not offered is not among them. */
  readonly covered: ReadonlyMap<string, readonly Interval[]>
}

/**
 * One question to the source, recorded page by page. Coverage is recorded only when the last page has come: until then any
 * page may hold rows of any time. Doing it again changes nothing.
 * @throws what the source throws; then rows may be recorded, and no coverage
 */
export async function fetchPart(
  parts: { readonly source: HistorySource; readonly sink: HistorySink; readonly known: Known },
  query: HistoryQuery,
  refusals: Refusals,
  signal: AbortSignal,
): Promise<PartOutcome> {
  const { source, sink, known } = parts
  const seen = new Map<string, PoolRows>()
  let rows = 0
  for await (const page of source.fetch(query, signal)) {
    const taken = sortPage(page, known, seen, (refusal) =>
      refusals.add(refusal, `${query.instanceTypes.join(', ')} in ${query.region}`),
    )
    for (const [pool, changes] of taken) {
      await sink.recordHistory(pool, changes, [], 'history')
      rows += changes.length
    }
  }
  const covered = new Map<string, readonly Interval[]>()
  for (const [pool, { times, refused }] of seen) {
    if (times.length === 0) continue
    const intervals = coveredByAnswer(times, refused, query.range, source.silence)
    covered.set(pool, intervals)
    if (intervals.length > 0) await sink.recordHistory(pool, [], intervals, 'history')
  }
  return { rows, covered }
}

interface PoolRows {
  readonly times: Instant[]
  /** When the refused rows were; undefined where not even that could be read. */
  readonly refused: (Instant | undefined)[]
}

function sortPage(
  page: readonly GivenSample[],
  known: Known,
  seen: Map<string, PoolRows>,
  onRefusal: (refusal: { code: string; reason: string }) => void,
): Map<string, PriceChange[]> {
  const taken = new Map<string, PriceChange[]>()
  for (const given of page) {
    const sample = checkSample(given, known)
    const pool = isRefusal(sample) ? given.pool : sample.poolId
    if (isRefusal(sample)) onRefusal(sample)
    if (typeof pool !== 'string' || !isPoolId(pool)) continue
    const rows = seen.get(pool) ?? { times: [], refused: [] }
    seen.set(pool, rows)
    if (isRefusal(sample)) {
      rows.refused.push(typeof given.at === 'number' ? instant(given.at) : undefined)
      continue
    }
    rows.times.push(sample.at)
    const changes = taken.get(pool) ?? []
    taken.set(pool, changes)
    changes.push({ at: sample.at, price: sample.price })
  }
  return taken
}

/**
 * For which times a whole answer says what the pool cost: from its first row on, the one before the range included. After a
 * row that was refused nothing is known until the next one, and after one whose time cannot be read nothing at all. Where
 * the source repeats prices, a pool that is silent for longer than `silence` is not offered any more, or not yet again.
 */
export function coveredByAnswer(
  times: readonly Instant[],
  refused: readonly (Instant | undefined)[],
  range: Interval,
  silence: Millis | null,
): Interval[] {
  const sorted = [...times].sort((a, b) => a - b)
  const [first] = sorted
  if (first === undefined || refused.includes(undefined)) return []
  const nextAfter = (from: Instant) => sorted.find((at) => at > from) ?? range.to
  const hidden = refused.flatMap((from) => (from === undefined ? [] : [{ from, to: nextAfter(from) }]))
  const silent = silence === null ? [] : silences(sorted, silence, range.to)
  return minus([{ from: instant(Math.max(first, range.from)), to: range.to }], [...hidden, ...silent])
}

/** From when a row does not hold any more to the next one. */
const silences = (sorted: readonly Instant[], silence: Millis, end: Instant): Interval[] =>
  sorted.flatMap((at, i) => {
    const next = sorted[i + 1] ?? end
    return next - at > silence ? [{ from: plus(at, silence), to: next }] : []
  })
