import { hours, type Millis } from '@understudy/shared/core/time'
import type { Interval } from '@understudy/shared/market/interval'
import type { GivenSample } from '@understudy/shared/market/sample'

/** Where price histories come from: EC2 itself, or the simulated market. */
export interface HistorySource {
  /** How far back it knows prices, in milliseconds. */
  readonly reach: number
  /**
   * How long a pool on offer goes without a row, at most, where prices are repeated when they have not changed. Null where
   * only changes are told: then a price holds until the next one, however long that takes.
   */
  readonly silence: Millis | null
  /**
   * Every change of price of these types in the region and the range, page by page, in no promised order and perhaps
   * more than once; for each pool also the last row before the range, which is its price at the start. Rows are handed on
   * as they came. When it ends without an error nothing is missing; a pool without a row is not offered.
   * @throws AppError `unavailable` (retryable when a later call may succeed), `forbidden`, `input_invalid`, `protocol`
   */
  fetch(query: HistoryQuery, signal: AbortSignal): AsyncIterable<readonly GivenSample[]>
}

/** EC2 repeats every pool about once a day. In the files seen 99 of 100 pauses are below 24.1 hours. */
export const EC2_SILENCE = hours(26)

export interface HistoryQuery {
  readonly region: string
  readonly instanceTypes: readonly string[]
  /** All zones of the region when it is not given. */
  readonly availabilityZone?: string
  readonly range: Interval
}
