import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { PlayedOut } from '../../coordinator/src/demo/ci-story.ts'
import { within } from '../within.ts'
import { bench } from './failover.ts'
import { isCompared } from './failover-idle.ts'
import {
  type CasePlan,
  DEFAULT_SECONDS,
  expectedSeconds,
  MANY_SECONDS,
  planFailover,
} from './failover-plan.ts'
import { aimsOf, isRight, type Measured, percentiles, summarize, toJson, toTable } from './failover-report.ts'
import { type Run, toRun } from './failover-run.ts'
import { GATE, GATE_HOOKS, openFor } from './gate-server.ts'
import { createBudget } from './limits.ts'

/** What the figures of the failover benchmark rest on. */

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-bench-test-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const defaults = (entries: Readonly<Record<string, { value: unknown }>> = {}) =>
  Object.fromEntries(Object.entries(entries).map(([key, { value }]) => [key, value]))
const plan = (options: Record<string, number> = {}, texts: Record<string, string> = {}) =>
  planFailover(
    { ...(defaults(bench.options) as Record<string, number>), ...options },
    { ...(defaults(bench.texts) as Record<string, string>), ...texts },
  )

test('by default every trigger meets both sizes of state, with and without writes, and 50 agents come last', () => {
  const { states, many } = plan({ runs: 7 })
  const cases = states.flatMap((state) => state.cases)
  expect(cases).toHaveLength(12)
  const names = cases.map(
    ({ trigger, stateMib, writesPerSecond }) => `${trigger} ${stateMib} ${writesPerSecond}`,
  )
  expect(new Set(names).size).toBe(12)
  expect(names).toContain('planned 1024 1000')
  expect(many).toMatchObject({ trigger: 'notice', agents: 50, runs: 1 })
})

test('a notice with much state has as many runs as may be copied, and at least one', () => {
  const runsOf = (options: Record<string, number>) =>
    Object.fromEntries(
      plan(options, { rates: '0' }).states.flatMap(({ cases }) =>
        cases.map(({ trigger, stateMib, runs }) => [`${trigger} ${stateMib}`, runs]),
      ),
    )
  expect(runsOf({ runs: 100, large: 100, copy: 20_480 })).toEqual({
    'notice 64': 100,
    'kill 64': 100,
    'planned 64': 100,
    'notice 1024': 20,
    'kill 1024': 100,
    'planned 1024': 100,
  })
  expect(runsOf({ runs: 3, copy: 10 })).toMatchObject({ 'notice 64': 1, 'notice 1024': 1, 'kill 1024': 3 })
})

test('the default plan ends within its ten minutes, with time for the many and for the build', () => {
  const { states, many } = plan()
  const { idle } = defaults(bench.options) as Record<string, number>
  expect(many).toBeDefined()
  expect(states.map(({ stateMib, cases }) => [stateMib, cases.map(({ runs }) => runs)])).toEqual([
    [64, [4, 4, 4, 4, 4, 4]],
    [1024, [2, 3, 3, 2, 3, 3]],
  ])
  const expected = (given: typeof states) =>
    given.reduce((sum, state) => sum + expectedSeconds(state, idle ?? 0), 0)
  const build = 20
  const left = DEFAULT_SECONDS - MANY_SECONDS - build
  expect(expected(states)).toBeLessThan(left)
  // The same as it was once, with 4 runs of each: it had no time for the last case.
  expect(expected(plan({ large: 4, copy: 3072 }).states)).toBeGreaterThan(left)
})

test('what is left out is left out, and a cold start is measured once, with the smallest state', () => {
  const { states, many } = plan(
    { runs: 2, cold: 3, agents: 0 },
    { states: '16, 8,8', rates: '10', triggers: 'planned' },
  )
  expect(many).toBeUndefined()
  expect(
    states.map(({ stateMib, cases }) => [stateMib, cases.map(({ trigger, runs }) => [trigger, runs])]),
  ).toEqual([
    [
      8,
      [
        ['planned', 2],
        ['notice-no-replica', 3],
      ],
    ],
    [16, [['planned', 2]]],
  ])
  expect(plan({ runs: 0, agents: 5, rounds: 2 })).toMatchObject({ states: [], many: { agents: 5, runs: 2 } })
})

test.each([
  [{}, { states: '64,' }, '--states is "64,": it must be whole numbers up to 16384'],
  [{}, { states: '99999' }, '--states'],
  [{}, { rates: '-1' }, '--rates is "-1"'],
  [
    {},
    { triggers: 'notice,crash' },
    '--triggers is "notice,crash": it must be some of notice, kill, planned',
  ],
  [{ runs: 0, agents: 0 }, {}, 'there is nothing to measure'],
])('%j %j is refused', (options: Record<string, number>, texts: Record<string, string>, said) => {
  expect(() => plan(options, texts)).toThrow(said)
})

test('percentiles are by nearest rank, and null where nothing is known', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)
  expect(percentiles(hundred)).toEqual({ p50: 50, p95: 95, p99: 99, max: 100 })
  expect(percentiles([null, 3, 1, null, 2])).toEqual({ p50: 2, p95: 3, p99: 3, max: 3 })
  expect(percentiles([null])).toEqual({ p50: null, p95: null, p99: null, max: null })
})

test('a run is what the record says beside what the client saw', () => {
  const step = (name: string, ms: number | null, more: object = {}) => ({
    step: name,
    t_ms: 0,
    duration_ms: ms,
    ok: true,
    reported_by: 'i-2',
    ...more,
  })
  const played = {
    result: {
      outcome: 'promoted',
      detect_to_promoted_ms: 200,
      no_primary_ms: 150,
      client_gap_ms: 160,
      writes_acked: 10,
      writes_lost: 2,
      as_reported: true,
    },
    incident: {
      detected_at: new Date(10_700).toISOString(),
      no_primary_from_t_ms: 60,
      no_primary_ms: 150,
      new_instance_id: 'i-2',
      steps: [
        step('workload-started', 999, { ok: false }),
        step('workload-started', 30),
        step('health-check', 12),
        step('health-check', 500, { reported_by: 'i-1' }),
      ],
    },
    struckAt: 10_000,
    missing: [9900, 9600],
  } as unknown as PlayedOut
  expect(toRun(played, 10_930)).toMatchObject({
    detectToPromoted: 200,
    noPrimary: 150,
    clientGap: 160,
    total: 930,
    totalOfRecord: 910,
    ownStart: 42,
    lostMillis: 400,
  })
  const unknown = {
    ...played,
    incident: { ...played.incident, steps: [], no_primary_from_t_ms: null },
    missing: [],
  }
  expect(toRun(unknown, null)).toMatchObject({
    total: null,
    totalOfRecord: null,
    ownStart: null,
    lostMillis: 0,
  })
})

const casePlan = (more: Partial<CasePlan> = {}): CasePlan => ({
  trigger: 'notice',
  stateMib: 64,
  writesPerSecond: 0,
  agents: 1,
  runs: 2,
  ...more,
})
const run = (more: Partial<Run> = {}): Run => ({
  outcome: 'promoted',
  detectToPromoted: 250,
  noPrimary: 240,
  clientGap: 245,
  total: 900,
  totalOfRecord: 895,
  ownStart: 90,
  writesAcked: 100,
  writesLost: 0,
  lostMillis: 0,
  asReported: true,
  steps: [],
  ...more,
})
const measured = (cases: Measured['cases'], more: Partial<Measured> = {}): Measured => ({
  cases,
  ownStarts: [{ stateMib: 64, millis: [100, 110, 105] }],
  idle: [{ rssMib: 90, cpuPercent: 0.5, compared: true, state_mib: 64 }],
  processor: [{ agents: 50, coordinator_ms: 38, agents_ms: 190 }],
  overlaps: [],
  ...more,
})
const report = (given: Measured) => {
  const summaries = given.cases.map((each) => summarize(each, given.ownStarts))
  const aims = aimsOf(summaries, given.idle)
  return { summaries, aims, json: toJson(given, summaries, aims, {}), table: toTable(given, summaries, aims) }
}

test('the object has every promised name, with a value for each', () => {
  const { json } = report(
    measured([{ plan: casePlan(), runs: [run(), run({ noPrimary: 300 })], failures: [] }]),
  )
  expect(json).toMatchObject({
    schema: 'understudy.bench.failover/v2',
    cases: [
      {
        trigger: 'notice',
        state_mib: 64,
        writes_per_s: 0,
        agents: 1,
        runs: 2,
        no_primary_p50_ms: 240,
        no_primary_p99_ms: 300,
        detect_to_promoted_p99_ms: 250,
        total_p99_ms: 900,
        own_start_alone_p50_ms: 105,
        own_start_p50_ms: 90,
        own_start_allowed_ms: 90,
        no_primary_less_own_start_p99_ms: 210,
        no_primary_besides_start_p50_ms: 150,
        no_primary_besides_start_p99_ms: 210,
        slowest_steps: [],
        writes_acked: 200,
        writes_lost: 0,
      },
    ],
    idle: [{ rssMib: 90, cpuPercent: 0.5, state_mib: 64 }],
    processor: [{ agents: 50, coordinator_ms: 38, agents_ms: 190 }],
    overlaps: [],
    missed: [],
    unmeasured: [],
    ok: true,
  })
})

test('each trigger has its own aim, met or missed by what was measured', () => {
  const { aims, json } = report(
    measured([
      { plan: casePlan(), runs: [run({ noPrimary: 604, ownStart: 120 })], failures: [] },
      {
        plan: casePlan({ trigger: 'planned' }),
        runs: [run({ noPrimary: 606, ownStart: 120 })],
        failures: [],
      },
      { plan: casePlan({ trigger: 'kill' }), runs: [run({ noPrimary: 1400, total: 1591 })], failures: [] },
      {
        plan: casePlan({ agents: 50, stateMib: 1 }),
        runs: [run({ noPrimary: 1999, detectToPromoted: 2001 })],
        failures: [],
      },
      { plan: casePlan({ trigger: 'kill' }), runs: [run({ total: null })], failures: [] },
    ]),
  )
  expect(aims.slice(0, 10).map(({ measured: value, limit, met }) => [value, limit, met])).toEqual([
    [499, 500, true],
    [484, 500, true],
    [501, 500, false],
    [486, 500, true],
    [1501, 1500, false],
    [1310, 1500, true],
    [1999, 2000, true],
    [2001, 2000, false],
    [null, 1500, null],
    [150, 1500, true],
  ])
  expect(json.missed).toHaveLength(3)
  expect(json.unmeasured).toHaveLength(1)
  expect(
    aimsOf([], [{ rssMib: 111, cpuPercent: 1.6, compared: true, state_mib: 1 }]).filter(
      ({ met }) => met === false,
    ),
  ).toHaveLength(2)
})

test('a kill is judged without the own start of its workload, and its whole time stays in the table', () => {
  const kill = (more: Partial<Run>) =>
    report(
      measured(
        [{ plan: casePlan({ trigger: 'kill' }), runs: [run({ ownStart: 900, ...more })], failures: [] }],
        {
          ownStarts: [{ stateMib: 64, millis: [910] }],
        },
      ),
    )
  const { aims, table, json } = kill({ noPrimary: 2399, total: 2400 })
  expect(aims[0]).toMatchObject({ measured: 1500, limit: 1500, met: true })
  expect(table).toMatch(/kill, 64 MiB, 0\/s: no primary +1 +2399/)
  expect(json.cases[0]).toMatchObject({ total_p99_ms: 2400, total_less_own_start_p99_ms: 1500 })
  expect(kill({ noPrimary: 2401, total: 2400 }).aims[0]).toMatchObject({ measured: 1501, met: false })
  expect(kill({ noPrimary: 2399, total: 2401 }).aims[0]).toMatchObject({ measured: 1501, met: false })
})

test('an agent is at rest once what its primary has is compared with every replica of it', () => {
  const status = (role: string, ...passes: readonly number[]) => ({
    role,
    replicas: passes.map((times, index) => ({
      instance_id: `i-${index}`,
      attached: true,
      lag_bytes: 0,
      lag_ms: 0,
      verified: { passes: times, files: 0, bytes: 0, mismatches: 0 },
    })),
  })
  expect(isCompared([status('primary', 0), status('replica')])).toBe(false)
  expect(isCompared([status('primary'), status('replica')])).toBe(false)
  expect(isCompared([status('primary', 1, 0)])).toBe(false)
  expect(isCompared([status('primary', 1), status('replica')])).toBe(true)
  const { table } = report(
    measured([], { idle: [{ rssMib: 90, cpuPercent: 4, compared: false, state_mib: 1024 }] }),
  )
  expect(table).toContain('90.0 MiB, 4.00 % of a core (1024 MiB of state, still being compared)')
  expect(table).toContain('50 at once: coordinator 38 ms, both agents 190 ms')
})

test('a slow moment of the workload alone makes no room for a slow failover, nor does a slow start in it', () => {
  const allowed = (alone: number, reported: number | null) =>
    report(
      measured([{ plan: casePlan(), runs: [run({ noPrimary: 1000, ownStart: reported })], failures: [] }], {
        ownStarts: [{ stateMib: 64, millis: [alone] }],
      }),
    ).aims[0]
  expect(allowed(3000, 90)).toMatchObject({ measured: 910, met: false })
  expect(allowed(100, 900)).toMatchObject({ measured: 900, met: false })
  expect(allowed(100, null)).toMatchObject({ measured: null, met: null })
})

test.each([
  ['two primaries', {}, run(), { overlaps: ['agent: i-1 ran again after i-2'] }],
  ['a write that a notice lost', {}, run({ writesLost: 1 }), {}],
  ['a loss that the record does not name', { trigger: 'kill' as const }, run({ asReported: false }), {}],
  ['a run that nobody was promoted in', {}, run({ outcome: 'failed' }), {}],
])('%s is wrong, however quick it was', (_, more, bad, others) => {
  const { json } = report(
    measured([{ plan: casePlan({ ...more, runs: 2 }), runs: [run(), bad], failures: [] }], others),
  )
  expect(json.ok).toBe(false)
})

test('a case that was broken off is wrong and told; a loss without a notice that its record names is right', () => {
  const broken = measured([{ plan: casePlan(), runs: [run()], failures: ['no replica within 300 s'] }])
  expect(report(broken).json.ok).toBe(false)
  expect(report(broken).table).toContain('FAILED notice, 64 MiB, 0/s: no replica within 300 s')
  expect(
    isRight(report(measured([{ plan: casePlan({ runs: 3 }), runs: [run()], failures: [] }])).summaries, []),
  ).toBe(false)
  const kill = measured([
    {
      plan: casePlan({ trigger: 'kill', runs: 1 }),
      runs: [run({ writesLost: 5, lostMillis: 20 })],
      failures: [],
    },
  ])
  expect(report(kill).json.ok).toBe(true)
})

test('the client has a row of its own where it saw something else than the record', () => {
  const same = report(measured([{ plan: casePlan({ runs: 1 }), runs: [run()], failures: [] }])).table
  expect(same).toMatch(/notice, 64 MiB, 0\/s: no primary +1 +240 +240 +240 +240 +1\.0/)
  expect(same).not.toContain("client's gap")
  const other = report(
    measured([{ plan: casePlan({ runs: 1 }), runs: [run({ clientGap: 700 })], failures: [] }]),
  )
  expect(other.table).toMatch(/no primary, the client's gap +1 +700/)
})

test('a gate is open with an epoch and a process that lives', () => {
  expect(openFor(directory)).toBeUndefined()
  const write = (text: string) => writeFileSync(join(directory, GATE), text)
  write(`7 ${process.pid}\n`)
  expect(openFor(directory)).toBe('7')
  write('')
  expect(openFor(directory)).toBeUndefined()
  write('7 99999999\n')
  expect(openFor(directory)).toBeUndefined()
  mkdirSync(join(directory, 'other'))
  expect(openFor(join(directory, 'other'))).toBeUndefined()
})

test('hooks open and close a gate, and whoever ends what the start hook left behind closes it too', async () => {
  writeFileSync(join(directory, 'hooks.sh'), GATE_HOOKS)
  const hook = (word: string) =>
    execFileSync('sh', [join(directory, 'hooks.sh'), word], { env: { ...process.env, AGENT_EPOCH: '3' } })
  const holder = () => Number(readFileSync(join(directory, GATE), 'utf8').split(' ')[1])
  hook('stop')
  hook('start')
  expect(openFor(directory)).toBe('3')
  const first = holder()
  hook('freeze')
  expect(openFor(directory)).toBeUndefined()
  writeFileSync(join(directory, GATE), `3 ${first}`)
  await expect.poll(() => openFor(directory)).toBeUndefined()
  hook('thaw')
  expect(openFor(directory)).toBe('3')
  process.kill(holder(), 'SIGKILL')
  await expect.poll(() => openFor(directory)).toBeUndefined()
})

test('the time of a benchmark is shared, and never less than none', () => {
  let now = 1000
  const budget = createBudget(10_000, () => now)
  const early = budget.keeping(4000)
  expect([budget.left(), early.left()]).toEqual([10_000, 6000])
  now += 7000
  expect([budget.left(), early.left()]).toEqual([3000, 0])
})

test('what takes longer than its time is given up by its name', async () => {
  await expect(within('run 2 of 4', 5, new Promise(() => undefined))).rejects.toThrow(
    'run 2 of 4: given up after 0.005 s',
  )
  expect(await within('run 2 of 4', 60_000, Promise.resolve('done'))).toBe('done')
})

test('a case that was given up keeps the runs that it had, and is not right', () => {
  const { states } = planFailover({ runs: 3, copy: 100 }, { rates: '0', triggers: 'kill', states: '64' })
  const [plan] = states[0]?.cases ?? []
  if (!plan) throw new Error('no case')
  const failures = ['run 1 of 3: given up after 180 s']
  const summary = summarize({ plan, runs: [], failures }, [])
  expect(summary).toMatchObject({ runs: 0, runs_wanted: 3, failures })
  expect(isRight([summary], [])).toBe(false)
  expect(toTable(measured([{ plan, runs: [], failures }]), [summary], aimsOf([summary], []))).toContain(
    'FAILED kill, 64 MiB, 0/s: run 1 of 3: given up after 180 s',
  )
})
