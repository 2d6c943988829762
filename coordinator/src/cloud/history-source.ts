import type { Interval } from '@understudy/shared/market/interval'
import type { GivenSample } from '@understudy/shared/market/sample'

/** Where price histories come from: EC2 itself, or the simulated market. */
export interface HistorySource {
  /** How far back it knows prices, in milliseconds. */
  readonly reach: number
  /**
   * Every change of price of these types in the region and the range, page by page, in no promised order and perhaps
   * more than once; for each pool also the last row before the range, which is its price at the start. Rows are handed on
   * as they came. When it ends without an error nothing is missing; a pool without a row is not offered.
   * @throws AppError `unavailable` (retryable when a later call may succeed), `forbidden`, `input_invalid`, `protocol`
   */
  fetch(query: HistoryQuery, signal: AbortSignal): AsyncIterable<readonly GivenSample[]>
}

export interface HistoryQuery {
  readonly region: string
  readonly instanceTypes: readonly string[]
  /** All zones of the region when it is not given. */
  readonly availabilityZone?: string
  readonly range: Interval
}
