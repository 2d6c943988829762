import type { SingleSpot } from './account.ts'
import type { Played } from './play.ts'

/** A trace that was played, and what one spot instance would have done in the same stretch. */
export interface Row {
  readonly trace: string
  /** Where the stretch begins, in seconds of the trace. */
  readonly from: number
  readonly zones: number
  readonly speed: number
  readonly standbys: number
  readonly played: Played
  readonly single: SingleSpot
}

/** Of the time with capacity, under the assumption that is said below the table. */
export const AIM = 0.999

const HEAD = [
  'trace',
  'stretch',
  'interruptions survived',
  'without a primary, s',
  'longest, s',
  'served',
  'launched, wasted',
  'cost of on-demand',
  'single spot: served, cost',
]

export function toTable(rows: readonly Row[]): string {
  const lines = [HEAD, HEAD.map(() => '---'), ...rows.map(cellsOf)]
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

const cellsOf = ({ trace, from, zones, played, single }: Row): readonly string[] => [
  `${trace}, ${zones} zones`,
  `${hours(played.traced_seconds)} h from hour ${hours(from)}, ${hours(played.capacity_seconds)} h with capacity`,
  `${played.survived} of ${played.interruptions}`,
  `${played.outage_seconds.toFixed(1)} in ${played.outages}`,
  played.longest_outage_seconds.toFixed(1),
  `${percent(played.served_share, 3)} (${percent(played.served_share_accelerated, 1)})`,
  `${played.launched}, ${played.wasted}`,
  percent(played.cost_share, 0),
  `${percent(single.served_share, 1)}, ${percent(single.cost_share, 0)}`,
]

const hours = (seconds: number): string => (seconds / 3600).toFixed(1)
const percent = (share: number, digits: number): string => `${(share * 100).toFixed(digits)} %`

/** Every trace meets the aim, and no two primaries ran at once. */
export const isMet = (rows: readonly Row[]): boolean =>
  rows.length > 0 && rows.every(({ played }) => played.served_share >= AIM && played.overlaps.length === 0)
