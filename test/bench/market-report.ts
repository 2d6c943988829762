import { formatTable } from './bench.ts'
import type { Measured } from './market-cases.ts'

/** What was measured, beside what it is meant to be. */

interface Figure {
  readonly name: string
  readonly value: number | null
  readonly unit: string
  readonly aim: { readonly least?: number; readonly most?: number } | null
}

const AIMED_POOLS = 1000

/**
 * The named figures. What an aim speaks of is the whole amount; of a smaller run the time is that of as many pools. Growth is the
 * CPU time for each pool with the most pools over that with the fewest.
 */
export function toFigures(all: readonly Measured[]): readonly Figure[] {
  const figure = (name: string, value: number | null, unit: string, aim: Figure['aim'] = null): Figure => ({
    name,
    value,
    unit,
    aim,
  })
  return (['sqlite', 'postgres'] as const).flatMap((store) => {
    const of = (what: Measured['what'], data: Measured['data'] = 'generated') =>
      all.filter((one) => one.what === what && one.store === store && one.data === data)
    const [first, last] = [of('scan')[0], of('scan').at(-1)]
    const growth = first && last && first !== last ? cpuOfPool(last) / cpuOfPool(first) : null
    const read = [...of('read'), ...of('read', 'real')].flatMap(({ p50Millis = [] }) => p50Millis)
    return [
      figure(`ingest_${store}`, rate(of('ingest')[0]), 'rows/s', {
        least: store === 'sqlite' ? 50_000 : 30_000,
      }),
      figure(`ingest_wide_${store}`, rate(of('ingest wide')[0]), 'rows/s'),
      figure(`import_${store}`, rate(of('import')[0]), 'rows/s'),
      figure(`scan_${store}`, last ? (last.seconds / last.pools) * AIMED_POOLS : null, 's of 1,000 pools', {
        most: 30,
      }),
      figure(`scan_rss_${store}`, last?.peakRssMib ?? null, 'MiB', { most: 512 }),
      figure(`scan_growth_${store}`, growth, 'x a pool', { most: 1.25 }),
      figure(`read_${store}`, read.length > 0 ? Math.max(...read) : null, 'ms p50', { most: 20 }),
    ]
  })
}

const rate = (one: Measured | undefined): number | null => (one ? one.amount / one.seconds : null)
const cpuOfPool = ({ cpuSeconds, serverCpuSeconds, pools }: Measured): number =>
  (cpuSeconds + serverCpuSeconds) / pools

/** undefined where nothing was measured or nothing is aimed at. */
function isMet({ value, aim }: Figure): boolean | undefined {
  if (!aim || value === null) return undefined
  return value >= (aim.least ?? Number.NEGATIVE_INFINITY) && value <= (aim.most ?? Number.POSITIVE_INFINITY)
}

export function toTable(all: readonly Measured[], load: readonly number[]): string {
  const aims = formatTable(
    ['figure', 'value', 'unit', 'aim', 'met'],
    toFigures(all)
      .filter(({ value }) => value !== null)
      .map((one) => {
        const met = isMet(one)
        const { least, most } = one.aim ?? {}
        const aim = least === undefined ? (most === undefined ? '-' : `<= ${most}`) : `>= ${least}`
        return [one.name, show(one.value), one.unit, aim, met === undefined ? '-' : met ? 'yes' : 'NO']
      }),
  )
  const costs = formatTable(
    [
      'what was done',
      'pools',
      'amount',
      's',
      'per s',
      'CPU-s',
      'server CPU-s',
      'RSS MiB',
      'ms p50',
      'ms p95',
    ],
    all.map((one) => [
      `${one.what}, ${one.store}, ${one.data}`,
      one.pools,
      one.amount,
      show(one.seconds),
      one.what === 'read' ? '-' : (one.amount / one.seconds).toFixed(0),
      show(one.cpuSeconds),
      one.store === 'sqlite' ? '-' : show(one.serverCpuSeconds),
      one.peakRssMib.toFixed(0),
      show(one.p50Millis),
      show(one.p95Millis),
    ]),
  )
  return `${aims}\n\n${costs}\n\nload of the machine over 1, 5 and 15 minutes at the end: ${load.map((one) => one.toFixed(1)).join(', ')}`
}

const show = (value: number | null | undefined): string =>
  value === null || value === undefined ? '-' : value.toFixed(value < 10 ? 2 : value < 1000 ? 1 : 0)

/** The named figures at the top, then everything else. */
export function toJson(all: readonly Measured[], rest: object): object {
  const figures = toFigures(all)
  const aimed = figures.filter(({ aim }) => aim)
  return {
    ...Object.fromEntries(figures.map(({ name, value }) => [name, value])),
    aims: Object.fromEntries(aimed.map(({ name, aim }) => [name, aim])),
    missed: aimed.filter((one) => isMet(one) === false).map(({ name }) => name),
    unmeasured: aimed.filter(({ value }) => value === null).map(({ name }) => name),
    measured: all,
    ...rest,
  }
}
