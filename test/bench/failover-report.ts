import { formatTable, percentile } from './bench.ts'
import type { AtRest } from './failover-idle.ts'
import type { CasePlan } from './failover-plan.ts'
import type { CaseRuns, Run } from './failover-run.ts'

/** What was measured, as rows and as an object. Pure. */

export interface Measured {
  readonly cases: readonly CaseRuns[]
  /** Of the workload without any agent, for each size of state. */
  readonly ownStarts: readonly { readonly stateMib: number; readonly millis: readonly number[] }[]
  readonly idle: readonly (AtRest & { readonly state_mib: number })[]
  readonly processor: readonly ProcessorTime[]
  readonly overlaps: readonly string[]
}

/** Of a hand-over when many happen at once, from the first notice until the last client is served. */
export interface ProcessorTime {
  readonly agents: number
  /** Shared by all of them, wherever they run. */
  readonly coordinator_ms: number
  /** Both ends, each on a machine of its own in production. */
  readonly agents_ms: number
}

export interface Percentiles {
  readonly p50: number | null
  readonly p95: number | null
  readonly p99: number | null
  readonly max: number | null
}

export type Summary = ReturnType<typeof summarize>

/** Aims of the product, milliseconds unless the name says otherwise. */
const BEYOND_OWN_START = 500
const KILL = 1500
const MANY = 2000
const FLOOR = 15_000
const FLOOR_OF_LOSS = 5000
const IDLE_MIB = 110
const IDLE_CPU_PERCENT = 1.5

/** By nearest rank; a run that did not get so far has no figure. */
export function percentiles(values: readonly (number | null)[]): Percentiles {
  const known = values.filter((value) => value !== null)
  const of = (percent: number) => (known.length === 0 ? null : percentile(known, percent))
  return { p50: of(50), p95: of(95), p99: of(99), max: of(100) }
}

/** One object for each case, with the names that are promised. */
export function summarize({ plan, runs, failures }: CaseRuns, ownStarts: Measured['ownStarts']) {
  const of = (figure: (run: Run) => number | null) => percentiles(runs.map(figure))
  const alone = ownStarts.find(({ stateMib }) => stateMib === plan.stateMib)?.millis ?? []
  const ownStartAlone = percentiles(alone.map(Math.round)).p50
  // A busy moment may have slowed either of them, and must not make room for a slow failover.
  const ownStart = smallest([ownStartAlone, of((run) => run.ownStart).p50])
  const less = (value: number | null) => (value === null || ownStart === null ? null : value - ownStart)
  return {
    trigger: plan.trigger,
    state_mib: plan.stateMib,
    writes_per_s: plan.writesPerSecond,
    agents: plan.agents,
    runs: runs.length,
    runs_wanted: plan.runs * plan.agents,
    ...named(
      'detect_to_promoted',
      of((run) => run.detectToPromoted),
    ),
    ...named(
      'no_primary',
      of((run) => run.noPrimary),
    ),
    ...named(
      'client_gap',
      of((run) => run.clientGap),
    ),
    ...named(
      'total',
      of((run) => run.total),
    ),
    ...named(
      'total_of_record',
      of((run) => run.totalOfRecord),
    ),
    ...named(
      'own_start',
      of((run) => run.ownStart),
    ),
    own_start_alone_p50_ms: ownStartAlone,
    own_start_allowed_ms: ownStart,
    ...named(
      'no_primary_less_own_start',
      of((run) => less(run.noPrimary)),
    ),
    ...named(
      'total_less_own_start',
      of((run) => less(run.total)),
    ),
    ...named(
      'no_primary_besides_start',
      of(({ noPrimary, ownStart: started }) =>
        noPrimary === null || started === null ? null : Math.round(noPrimary - started),
      ),
    ),
    writes_acked: sum(runs, (run) => run.writesAcked),
    writes_lost: sum(runs, (run) => run.writesLost),
    lost_max_ms: percentiles(runs.map((run) => run.lostMillis)).max,
    outcomes: count(runs.map((run) => run.outcome)),
    not_as_reported: runs.filter((run) => !run.asReported).length,
    slowest_steps: slowest(runs)?.steps ?? [],
    failures,
  }
}

/** `no_primary` → `no_primary_p50_ms` and so on. */
const named = <N extends string>(name: N, { p50, p95, p99, max }: Percentiles) =>
  ({
    [`${name}_p50_ms`]: p50,
    [`${name}_p95_ms`]: p95,
    [`${name}_p99_ms`]: p99,
    [`${name}_max_ms`]: max,
  }) as Record<`${N}_${keyof Percentiles}_ms`, number | null>

/** The run that was longest without a primary. */
const slowest = (runs: readonly Run[]): Run | undefined =>
  runs.toSorted((a, b) => (b.noPrimary ?? -1) - (a.noPrimary ?? -1))[0]

const sum = (runs: readonly Run[], figure: (run: Run) => number): number =>
  runs.reduce((all, run) => all + figure(run), 0)

const count = (values: readonly string[]): Record<string, number> =>
  Object.fromEntries(
    [...new Set(values)].map((value) => [value, values.filter((other) => other === value).length]),
  )

export interface Aim {
  readonly aim: string
  readonly measured: number | null
  readonly limit: number
  /** Null when it was not measured. */
  readonly met: boolean | null
}

export function aimsOf(summaries: readonly Summary[], idle: Measured['idle']): readonly Aim[] {
  const warm = summaries.filter(({ trigger }) => trigger !== 'notice-no-replica')
  return [
    ...warm.flatMap(aimsOfCase),
    aim('every run: detect→promoted, ms', largest(warm.map((each) => each.detect_to_promoted_max_ms)), FLOOR),
    aim('every run: age of what is lost, ms', largest(warm.map((each) => each.lost_max_ms)), FLOOR_OF_LOSS),
    aim('idle agent: RSS, MiB', largest(idle.map(({ rssMib }) => rssMib)), IDLE_MIB),
    aim('idle agent: CPU, % of a core', largest(idle.map(({ cpuPercent }) => cpuPercent)), IDLE_CPU_PERCENT),
  ]
}

function aimsOfCase(summary: Summary): readonly Aim[] {
  const name = nameOf(summary)
  if (summary.agents > 1)
    return [
      aim(`${name}: no primary p99`, summary.no_primary_p99_ms, MANY),
      aim(`${name}: detect→promoted p99`, summary.detect_to_promoted_p99_ms, MANY),
    ]
  const { no_primary_less_own_start_p99_ms: beyond, total_less_own_start_p99_ms: total } = summary
  const isKill = summary.trigger === 'kill'
  const limit = isKill ? KILL : BEYOND_OWN_START
  const besides = summary.no_primary_besides_start_p99_ms
  // That the workload itself took longer to start than in the median is in the first alone.
  return [
    isKill
      ? aim(`${name}: total and no primary p99, less own start`, largest([beyond, total]), limit)
      : aim(`${name}: no primary p99, less own start`, beyond, limit),
    aim(`${name}: no primary p99, less the start of each run`, besides, limit),
  ]
}

const aim = (name: string, measured: number | null, limit: number): Aim => ({
  aim: name,
  measured,
  limit,
  met: measured === null ? null : measured <= limit,
})

/** Null as soon as one is not known. */
const smallest = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null)
  return known.length < values.length ? null : Math.min(...known)
}

/** Null as soon as one is not known, and without any. */
function largest(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null)
  return known.length < values.length || known.length === 0 ? null : Math.max(...known)
}

const nameOf = ({
  trigger,
  state_mib,
  writes_per_s,
  agents,
}: Pick<Summary, 'trigger' | 'state_mib' | 'writes_per_s' | 'agents'>): string =>
  `${trigger}, ${agents > 1 ? `${agents} agents, ` : ''}${state_mib} MiB, ${writes_per_s}/s`

export const nameOfPlan = (plan: CasePlan): string =>
  nameOf({
    trigger: plan.trigger,
    state_mib: plan.stateMib,
    writes_per_s: plan.writesPerSecond,
    agents: plan.agents,
  })

/** Nothing went wrong, however long it took. */
export const isRight = (summaries: readonly Summary[], overlaps: readonly string[]): boolean =>
  overlaps.length === 0 &&
  summaries.every(
    ({ trigger, runs, runs_wanted, outcomes, writes_lost, not_as_reported, failures }) =>
      failures.length === 0 &&
      runs === runs_wanted &&
      not_as_reported === 0 &&
      (outcomes.promoted ?? 0) === runs &&
      (writes_lost === 0 || trigger === 'kill' || trigger === 'notice-no-replica'),
  )

export function toTable(measured: Measured, summaries: readonly Summary[], aims: readonly Aim[]): string {
  const base = summaries[0]?.detect_to_promoted_p50_ms ?? null
  const rows = summaries.flatMap((summary) => rowsOf(summary, base))
  const told = summaries.flatMap((summary) => [
    ...summary.failures.map((why) => `FAILED ${nameOf(summary)}: ${why}`),
    ...(summary.not_as_reported > 0
      ? [`WRONG ${nameOf(summary)}: ${summary.not_as_reported} runs lost what their record does not name`]
      : []),
  ])
  return [
    formatTable(['milliseconds', 'runs', 'p50', 'p95', 'p99', 'max', 'p50 ratio'], rows),
    '',
    formatTable(['aim', 'measured', 'at most', 'met'], aims.map(rowOfAim)),
    '',
    formatTable(
      ['case', 'writes acked', 'lost', 'oldest lost, ms', 'own start, ms', 'alone, ms'],
      summaries.map(rowOfWrites),
    ),
    '',
    ...told,
    `agents at rest: ${measured.idle.map(sentenceOfIdle).join('; ') || 'not watched'}`,
    ...measured.processor.map(
      ({ agents, coordinator_ms, agents_ms }) =>
        `processor time of a hand-over, ${agents} at once: coordinator ${coordinator_ms} ms, both agents ${agents_ms} ms`,
    ),
    `two primaries at once: ${measured.overlaps.length === 0 ? 'never' : measured.overlaps.join('; ')}`,
  ].join('\n')
}

type Row = readonly (string | number)[]

/** What the client saw has a row of its own where it is not what the record says. */
function rowsOf(summary: Summary, base: number | null): readonly Row[] {
  const row = (what: string, name: Figure): Row => {
    const { p50, p95, p99, max } = figure(summary, name)
    const ratio = p50 === null || base === null || base === 0 ? '' : (p50 / base).toFixed(1)
    return [`${nameOf(summary)}: ${what}`, summary.runs, ...[p50, p95, p99, max].map(cell), ratio]
  }
  return [
    row('detect→promoted', 'detect_to_promoted'),
    row('no primary', 'no_primary'),
    ...(differs(summary, 'no_primary', 'client_gap')
      ? [row("no primary, the client's gap", 'client_gap')]
      : []),
    row('total', 'total'),
    ...(differs(summary, 'total', 'total_of_record') ? [row('total, by the record', 'total_of_record')] : []),
  ]
}

type Figure = 'detect_to_promoted' | 'no_primary' | 'client_gap' | 'total' | 'total_of_record'

const figure = (summary: Summary, name: Figure): Percentiles => ({
  p50: summary[`${name}_p50_ms`],
  p95: summary[`${name}_p95_ms`],
  p99: summary[`${name}_p99_ms`],
  max: summary[`${name}_max_ms`],
})

/** By more than a client that asks every 10 ms, or tries many writes again, could miss, or only one is known. */
function differs(summary: Summary, one: Figure, other: Figure): boolean {
  const [a, b] = [figure(summary, one), figure(summary, other)]
  return (['p50', 'p99'] as const).some((key) => {
    const [left, right] = [a[key], b[key]]
    return left === null || right === null ? left !== right : Math.abs(left - right) > 30
  })
}

const cell = (value: number | null): string | number => (value === null ? '-' : Math.round(value))

const rowOfAim = ({ aim: name, measured, limit, met }: Aim): Row => [
  name,
  measured === null ? '-' : Number(measured.toFixed(2)),
  limit,
  met === null ? '-' : met ? 'yes' : 'NO',
]

const rowOfWrites = (summary: Summary): Row => [
  nameOf(summary),
  summary.writes_acked,
  summary.writes_lost,
  cell(summary.lost_max_ms),
  cell(summary.own_start_p50_ms),
  cell(summary.own_start_alone_p50_ms),
]

const sentenceOfIdle = ({ rssMib, cpuPercent, compared, state_mib }: Measured['idle'][number]): string =>
  `${rssMib.toFixed(1)} MiB, ${cpuPercent.toFixed(2)} % of a core (${state_mib} MiB of state${compared ? '' : ', still being compared'})`

export function toJson(
  { ownStarts, idle, processor, overlaps }: Measured,
  summaries: readonly Summary[],
  aims: readonly Aim[],
  more: Readonly<Record<string, unknown>>,
) {
  const named = (met: boolean | null) => aims.filter((each) => each.met === met).map((each) => each.aim)
  return {
    schema: 'understudy.bench.failover/v2',
    ...more,
    cases: summaries,
    own_starts: ownStarts.map(({ stateMib, millis }) => ({
      state_mib: stateMib,
      starts: millis.length,
      ...percentiles(millis),
    })),
    idle,
    processor,
    aims,
    missed: named(false),
    unmeasured: named(null),
    overlaps,
    ok: isRight(summaries, overlaps),
  }
}
