import { formatTable } from './bench.ts'
import type { InitialCost, InitialResult } from './replication-initial.ts'
import type { LagFigures, LagResult } from './replication-lag.ts'
import type { RewriteResult } from './replication-rewrite.ts'

/** What was measured, beside what it is meant to be. A part that was left out is null. */
export interface ReplicationMeasures {
  readonly initial: InitialResult | null
  readonly rewrite: RewriteResult | null
  readonly lag: LagResult | null
}

interface Row {
  readonly measure: string
  readonly ours: number | null
  readonly theirs: number | null
  /** The named figure, of which `aim` speaks. */
  readonly figure: string
  readonly value: number | null
  readonly aim: { readonly least?: number; readonly most?: number } | null
}

export function toRows({ initial, rewrite, lag }: ReplicationMeasures): readonly Row[] {
  const row = (
    measure: string,
    figure: string,
    [ours, theirs]: readonly [number | undefined, number | undefined],
    value: number | null,
    aim: Row['aim'] = null,
  ): Row => ({ measure, figure, ours: ours ?? null, theirs: theirs ?? null, value, aim })
  const seconds = [initial?.ours?.seconds, initial?.rsync?.seconds] as const
  const zipped = [initial?.ours?.seconds, initial?.rsync_z?.seconds] as const
  const copy = [initial?.ours?.withSyncSeconds, initial?.copy?.withSyncSeconds] as const
  const cpu = [initial?.ours?.cpuSecondsPerGib, initial?.rsync?.cpuSecondsPerGib] as const
  const rss = [higherRss(initial?.ours), higherRss(initial?.rsync)] as const
  const bytes = [rewrite?.ours?.wireMib, rewrite?.rsync_z?.wireMib] as const
  const small = [rewrite?.ours?.wireMib, rewrite?.rsync_z_b4096?.wireMib] as const
  const time = [rewrite?.ours?.seconds, rewrite?.rsync_z?.seconds] as const
  const timeSmall = [rewrite?.ours?.seconds, rewrite?.rsync_z_b4096?.seconds] as const
  const p50 = [lag?.ours?.p50, lag?.rsync_loop?.p50] as const
  const p99 = [lag?.ours?.p99, lag?.rsync_loop?.p99] as const
  return [
    row('(a) s, rsync -a', 'initial_sync_speed_vs_rsync', seconds, inverse(seconds), { least: 1 }),
    row('(a) s, rsync -az', 'initial_sync_speed_vs_rsync_z', zipped, inverse(zipped)),
    row('(a) s, cp -a and sync', 'initial_sync_speed_vs_copy', copy, inverse(copy)),
    row('(b) MiB, rsync -az', 'rewrite_bytes_vs_rsync', bytes, ratio(bytes), { most: 0.4 }),
    row('(b) MiB, -az -B4096', 'rewrite_bytes_vs_rsync_b4096', small, ratio(small), { most: 1 }),
    row('(b) s, rsync -az', 'rewrite_time_vs_rsync', time, ratio(time), { most: 0.3 }),
    row('(b) s, -az -B4096', 'rewrite_time_vs_rsync_b4096', timeSmall, ratio(timeSmall)),
    row('(c) ms p50, loop', 'lag_p50_ms', p50, p50[0] ?? null),
    row('(c) ms p99, loop', 'lag_p99_ms', p99, p99[0] ?? null, { most: 25 }),
    row('(d) CPU-s/GiB, rsync -a', 'cpu_s_per_gib', cpu, cpu[0] ?? null, { most: 10 }),
    row('(d) RSS MiB, rsync -a', 'rss_mib', rss, rss[0] ?? null, { most: 120 }),
  ]
}

const ratio = ([ours, theirs]: readonly (number | undefined)[]): number | null =>
  ours === undefined || theirs === undefined ? null : ours / theirs
const inverse = ([ours, theirs]: readonly (number | undefined)[]): number | null => ratio([theirs, ours])

/** Each end has a limit of its own. */
const higherRss = (cost: InitialCost | null | undefined): number | undefined =>
  cost ? Math.max(cost.nearRssMib, cost.farRssMib) : undefined

/** undefined where nothing was measured or nothing is aimed at. */
function isMet({ value, aim }: Row): boolean | undefined {
  if (!aim || value === null) return undefined
  return value >= (aim.least ?? Number.NEGATIVE_INFINITY) && value <= (aim.most ?? Number.POSITIVE_INFINITY)
}

export function toTable(rows: readonly Row[], measures: ReplicationMeasures): string {
  const main = formatTable(
    ['measure, compared with', 'ours', 'theirs', 'ratio', 'aim', 'met'],
    rows.map((row) => {
      const met = isMet(row)
      const compared = row.figure.includes('_vs_')
        ? row.value
        : ratio([row.ours ?? undefined, row.theirs ?? undefined])
      return [
        row.measure,
        show(row.ours),
        show(row.theirs),
        show(compared),
        aimText(row),
        met === undefined ? '-' : met ? 'yes' : 'NO',
      ]
    }),
  )
  return [main, initialTable(measures.initial), lagTable(measures.lag)].filter(Boolean).join('\n\n')
}

function aimText({ aim, figure }: Row): string {
  if (!aim) return '-'
  const unit = figure.includes('_vs_') ? ' x' : ''
  return aim.least === undefined ? `<= ${aim.most}${unit}` : `>= ${aim.least}${unit}`
}

function initialTable(initial: InitialResult | null): string | undefined {
  if (!initial) return undefined
  const names = { ours: 'ours', rsync: 'rsync -a', rsync_z: 'rsync -az', copy: 'cp -a' } as const
  return formatTable(
    ['first copy', 's', 's with sync', 'CPU-s/GiB', 'wire MiB', 'RSS from', 'RSS to', 'anon from', 'anon to'],
    (Object.keys(names) as (keyof typeof names)[]).map((key) => {
      const cost = initial[key]
      return [
        names[key],
        show(cost?.seconds),
        show(cost?.withSyncSeconds),
        show(cost?.cpuSecondsPerGib),
        show(cost?.wireMib),
        show(cost?.nearRssMib),
        show(cost?.farRssMib),
        show(cost?.nearAnonMib),
        show(cost?.farAnonMib),
      ]
    }),
  )
}

function lagTable(lag: LagResult | null): string | undefined {
  if (!lag) return undefined
  const figures: Readonly<Record<string, Partial<LagFigures> | null>> = {
    ours: lag.ours,
    'ours, until known durable': lag.durable,
    'rsync in a loop': lag.rsync_loop,
    'lsyncd, delay 1': lag.lsyncd,
  }
  return formatTable(
    ['lag in ms', 'p50', 'p95', 'p99', 'max', 'written', 'never seen'],
    Object.entries(figures).map(([name, of]) => [
      name,
      show(of?.p50),
      show(of?.p95),
      show(of?.p99),
      show(of?.max),
      of?.written ?? '-',
      of?.unseen ?? '-',
    ]),
  )
}

const show = (value: number | null | undefined): string =>
  value === null || value === undefined || Number.isNaN(value) ? '-' : value.toFixed(value < 10 ? 2 : 1)

/** The named figures at the top, then everything else. */
export function toJson(rows: readonly Row[], measures: ReplicationMeasures, rest: object): object {
  const aimed = rows.filter((row) => row.aim)
  return {
    ...Object.fromEntries(rows.map(({ figure, value }) => [figure, value])),
    aims: Object.fromEntries(aimed.map(({ figure, aim }) => [figure, aim])),
    missed: aimed.filter((row) => isMet(row) === false).map(({ figure }) => figure),
    unmeasured: aimed.filter(({ value }) => value === null).map(({ figure }) => figure),
    ...measures,
    ...rest,
  }
}
