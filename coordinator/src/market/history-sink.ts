import type { PriceChange } from '@understudy/shared/market/history'
import type { Interval } from '@understudy/shared/market/interval'

/** Where changes of price are recorded: the market. */
export interface HistorySink {
  /**
   * Records changes of one pool, in any order and any number of times, and for which intervals nothing is missing.
   * `coverage` is empty while a fetch is not complete.
   */
  recordHistory(
    poolId: string,
    changes: readonly PriceChange[],
    coverage: readonly Interval[],
    source: HistoryOrigin,
  ): Promise<unknown>
}

export type HistoryOrigin = 'history' | 'import'
