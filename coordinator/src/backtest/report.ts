import type { Backtest, PolicyRow } from './backtest.ts'

const HOUR = 3_600_000

const isoDay = (at: number): string => new Date(at).toISOString().slice(0, 10)
export const percent = (share: number, digits = 2): string => `${(100 * share).toFixed(digits)} %`

/** For programs; numbers are not rounded. */
export const toJson = (backtests: readonly Backtest[]): string =>
  `${JSON.stringify({
    schema: 'understudy.backtest/v1',
    backtests: backtests.map((test) => ({
      name: test.name,
      kind: test.hasPrices ? 'prices' : 'availability',
      from: test.hasPrices ? new Date(test.from).toISOString() : null,
      to: test.hasPrices ? new Date(test.to).toISOString() : null,
      hours: (test.to - test.from) / HOUR,
      tick_seconds: test.tick / 1000,
      pools: test.pools,
      risk: test.risk,
      workloads: test.workloads,
      policies: test.rows.map((row) => ({
        policy: row.policy,
        cost_usd: test.hasPrices ? row.costUsd : null,
        cost_share_of_on_demand: row.costShare,
        moves: row.moves,
        interruptions: row.interruptions,
        hours_without_capacity: row.withoutCapacity / HOUR,
        share_without_capacity: row.withoutShare,
      })),
    })),
  })}\n`

/** A table per backtest, for people; also what docs/backtests.md holds. */
export const toMarkdown = (backtests: readonly Backtest[]): string =>
  backtests.map((test) => [headingOf(test), '', ...tableOf(test), ''].join('\n')).join('\n')

export const headingOf = (test: Backtest): string =>
  test.hasPrices
    ? `${test.name}: ${isoDay(test.from)} to ${isoDay(test.to)}, ${test.workloads.length} workloads, ${test.pools} pools, a decision every ${span(test.tick)}; risk: ${test.risk}`
    : `${test.name}: ${((test.to - test.from) / (24 * HOUR)).toFixed(1)} days, ${test.workloads.length} workloads, ${test.pools} zones, a decision every ${span(test.tick)}`

const span = (millis: number): string => (millis % HOUR === 0 ? `${millis / HOUR} h` : `${millis / 1000} s`)

function tableOf({ rows, hasPrices }: Backtest): string[] {
  const columns = hasPrices ? priceColumns : traceColumns
  return [
    `| ${columns.map(({ title }) => title).join(' | ')} |`,
    `|${columns.map(() => '---').join('|')}|`,
    ...rows.map((row) => `| ${columns.map(({ of }) => of(row, rows)).join(' | ')} |`),
  ]
}

interface Column {
  readonly title: string
  of(row: PolicyRow, all: readonly PolicyRow[]): string
}

const hindsightShare = (all: readonly PolicyRow[]): number =>
  all.find(({ policy }) => policy === 'hindsight')?.costShare ?? Number.NaN

const moves: Column = { title: 'moves', of: (row) => String(row.moves) }
const lost = (title: string): Column => ({ title, of: (row) => String(row.interruptions) })
const without = (title: string): Column => ({
  title,
  of: ({ withoutCapacity, withoutShare }) =>
    `${(withoutCapacity / HOUR).toFixed(1)} (${percent(withoutShare, 3)})`,
})

const priceColumns: readonly Column[] = [
  { title: 'policy', of: ({ policy }) => policy },
  { title: 'cost, USD', of: ({ costUsd }) => costUsd.toFixed(2) },
  { title: 'of on-demand', of: ({ costShare }) => percent(costShare ?? Number.NaN, 3) },
  {
    title: 'over hindsight',
    of: ({ costShare }, all) => percent((costShare ?? Number.NaN) / hindsightShare(all) - 1, 3),
  },
  moves,
  lost('pool gone'),
  without('hours without an offer'),
]
const traceColumns: readonly Column[] = [
  { title: 'policy', of: ({ policy }) => policy },
  lost('interruptions'),
  without('hours without capacity'),
]
