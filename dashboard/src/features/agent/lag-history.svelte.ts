import type { Instant } from '@understudy/shared/core/time'
import type { ChartPoint } from '../chart/chart-data.ts'

/** Ten minutes at one a second. */
const KEPT = 600
/** After a longer silence nothing is known of what was between. */
const SILENCE = 5000

/** How far the replica was behind while this page was open: the coordinator keeps no history of it. */
export class LagHistory {
  #points = $state.raw<readonly ChartPoint[]>([])
  #at = 0

  get points(): readonly ChartPoint[] {
    return this.#points
  }

  note(now: Instant, lag: number | null): void {
    const at = Math.floor(now / 1000) * 1000
    if (at <= this.#at) return
    const gap: ChartPoint[] =
      this.#at > 0 && at - this.#at > SILENCE
        ? [{ at: this.#at + 1000, value: null, kind: null, confidence: null }]
        : []
    this.#at = at
    const point: ChartPoint =
      lag === null
        ? { at, value: null, kind: null, confidence: null }
        : { at, value: lag, kind: 'measured', confidence: null }
    this.#points = [...this.#points, ...gap, point].slice(-KEPT)
  }
}
