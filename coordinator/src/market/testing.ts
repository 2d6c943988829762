import { hours } from '@understudy/shared/core/time'
import type { PriceChange } from '@understudy/shared/market/history'
import { type Interval, union } from '@understudy/shared/market/interval'
import type { GivenSample } from '@understudy/shared/market/sample'
import { pino } from 'pino'
import type { HistoryQuery, HistorySource } from '../cloud/history-source.ts'
import type { HistorySink } from './history-sink.ts'

export const silent = pino({ level: 'silent' })

/** Keeps what is recorded as the market would: each change once, coverage as one set per pool. */
export interface MemorySink extends HistorySink {
  readonly changes: Map<string, Map<number, number>>
  readonly coverage: Map<string, readonly Interval[]>
  /** Called before anything is kept. */
  before: () => Promise<void> | void
}

export function createMemorySink(): MemorySink {
  const sink: MemorySink = {
    changes: new Map(),
    coverage: new Map(),
    before: () => undefined,
    async recordHistory(pool: string, changes: readonly PriceChange[], covered: readonly Interval[]) {
      await sink.before()
      const own = sink.changes.get(pool) ?? new Map<number, number>()
      sink.changes.set(pool, own)
      for (const { at, price } of changes) own.set(at, price)
      if (covered.length > 0) sink.coverage.set(pool, union(sink.coverage.get(pool) ?? [], covered))
    },
  }
  return sink
}

/** A source that answers from a function, one page per element; a thrown page is an answer too. */
export function createTestSource(
  pages: (query: HistoryQuery) => readonly (readonly GivenSample[] | Error)[],
): HistorySource & { readonly asked: HistoryQuery[] } {
  const asked: HistoryQuery[] = []
  return {
    asked,
    reach: hours(90 * 24),
    async *fetch(query, signal) {
      asked.push(query)
      for (const page of pages(query)) {
        signal.throwIfAborted()
        if (page instanceof Error) throw page
        yield await Promise.resolve(page)
      }
    },
  }
}
