import { type Millis, millis, seconds } from '../core/time.ts'

/**
 * How the time that a notice leaves is shared out while nothing forces a move to begin yet. The workload serves meanwhile: it is
 * the move itself that interrupts it, and many at once take longer each.
 */

/** So long at most a coordinator lets a move wait for others; `left`: from the notice to the end of the instance. */
export const waitsForTurn = (left: Millis): Millis => millis(Math.max(left, 0) / 6)

/** So long a primary waits for an order of a coordinator that it is connected to: longer than that one lets it wait. */
export const waitsForOrder = (left: Millis): Millis => millis(Math.max(left / 4, seconds(1)))
