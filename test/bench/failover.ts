import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MachineImage } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { isServing, type RigPrograms, startRig, untilAgent } from '../../coordinator/src/demo/rig.ts'
import { messageOf } from '../../shared/src/core/app-error.ts'
import { within } from '../within.ts'
import type { Bench, BenchResult, Given } from './bench.ts'
import { AGENT, protect, runCase } from './failover-cases.ts'
import { type AtRest, watchAgents } from './failover-idle.ts'
import { runMany } from './failover-many.ts'
import { measureOwnStart } from './failover-own-start.ts'
import {
  DEFAULT_SECONDS,
  expectedSeconds,
  type FailoverPlan,
  MANY_SECONDS,
  planFailover,
} from './failover-plan.ts'
import { bundledPrograms, NO_MORE_STANDBYS, sourcePrograms } from './failover-programs.ts'
import { aimsOf, type Measured, nameOfPlan, summarize, toJson, toTable } from './failover-report.ts'
import type { CaseRuns } from './failover-run.ts'
import { type Budget, createBudget } from './limits.ts'

/**
 * Whole processes, as bundled for production, around the simulated cloud: how long nobody serves when an instance is
 * taken away with a notice, without one, and when a workload is moved by hand.
 */
export const bench: Bench = {
  summary:
    'How long a workload is without a primary when its instance is taken away, and what an idle agent costs',
  options: {
    runs: { value: 4, doc: 'runs of each case; 100 for figures to publish' },
    large: { value: 3, doc: 'runs of each case with 512 MiB of state or more, at most' },
    copy: {
      value: 2048,
      doc: 'MiB that one case may copy anew: a notice costs an instance, so with much state it has fewer runs',
    },
    agents: { value: 50, doc: 'agents that are interrupted in the same second; 0 leaves that out' },
    rounds: { value: 1, doc: 'how often that is done' },
    cold: { value: 0, doc: 'notices without a replica, which is then made in the 30 s that are left' },
    idle: {
      value: 15,
      doc: 'seconds for which the agents are watched doing nothing, for each state; 0: not',
    },
    seed: { value: 1, doc: 'seed of the simulated cloud' },
    minutes: {
      value: 0,
      doc: 'it ends after so many, and what was not measured says so; 0: 10, and 3 for each run above 4',
    },
  },
  texts: {
    states: { value: '64,1024', doc: 'MiB of state' },
    rates: {
      value: '0,1000',
      doc: 'writes per second, each on disk before it is acknowledged; with 0 the client only reads',
    },
    triggers: { value: 'notice,kill,planned', doc: 'what brings the change about' },
  },
  switches: {
    sources: 'runs everything from its sources, without building: quicker to begin, no figures to publish',
  },
  run: measure,
}

const STARTS_ALONE = 5
const MINUTE = 60_000
const DEFAULT_RUNS = 4
/** Of a state and its copy, with what has to be started; the rest is for the cases. */
const PREPARE_WITHIN = 4 * MINUTE
/** Everything is ended and removed, and written down. */
const CLOSE_WITHIN = 15_000

async function measure(
  options: Readonly<Record<string, number>>,
  progress: (line: string) => void,
  { texts, switches }: Given,
): Promise<BenchResult> {
  const began = performance.now()
  const plan = planFailover(options, texts)
  const directory = mkdtempSync(join(tmpdir(), 'understudy-bench-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  const load = loadavg()
  if (!switches.sources) progress('building the bundles')
  const programs = switches.sources ? sourcePrograms() : bundledPrograms(join(directory, 'dist'))
  const { minutes = 0, runs = 0 } = options
  const usual = DEFAULT_SECONDS / 60 + 3 * Math.max(0, runs - DEFAULT_RUNS)
  const budget = createBudget((minutes || usual) * MINUTE - (performance.now() - began))
  const measured = await runAll(plan, { programs, options, progress, budget })
  const summaries = measured.cases.map((each) => summarize(each, measured.ownStarts))
  const aims = aimsOf(summaries, measured.idle)
  const json = toJson(measured, summaries, aims, {
    options: { ...options, ...texts },
    bundled: !switches.sources,
    loadavg: load,
  })
  return { table: toTable(measured, summaries, aims), json, ok: json.ok }
}

interface Means {
  readonly programs: RigPrograms
  readonly options: Readonly<Record<string, number>>
  readonly progress: (line: string) => void
  readonly budget: Budget
}

async function runAll({ states, many }: FailoverPlan, means: Means): Promise<Measured> {
  const parts: Measured[] = []
  const budget = means.budget.keeping(many ? MANY_SECONDS * 1000 : 0)
  for (const [index, state] of states.entries()) {
    // What is left is shared by those that are left.
    const costs = states.slice(index).map((each) => expectedSeconds(each, means.options.idle ?? 0))
    const share = budget.left() * ((costs[0] ?? 0) / costs.reduce((sum, cost) => sum + cost, 0))
    parts.push(await runState(state, { ...means, budget: createBudget(share) }))
  }
  if (many) parts.push(await runMany(many, means))
  return {
    cases: parts.flatMap(({ cases }) => cases),
    ownStarts: parts.flatMap(({ ownStarts }) => ownStarts),
    idle: parts.flatMap(({ idle }) => idle),
    processor: parts.flatMap(({ processor }) => processor),
    overlaps: parts.flatMap(({ overlaps }) => overlaps),
  }
}

/** All cases of one size of state, on one pair of instances as far as the trigger leaves them. */
async function runState(
  { stateMib, cases }: FailoverPlan['states'][number],
  { programs, options, progress, budget }: Means,
): Promise<Measured> {
  const { idle = 0, seed = 0 } = options
  const measured = {
    done: [] as CaseRuns[],
    millis: [] as readonly number[],
    atRest: [] as readonly AtRest[],
  }
  let prepared: string | undefined
  const image =
    (usual: MachineImage): MachineImage =>
    (facts) => {
      // The first instance begins with the state that was made before; the others get it from their primary.
      if (prepared) {
        mkdirSync(facts.directory, { recursive: true })
        renameSync(prepared, join(facts.directory, 'state'))
        prepared = undefined
      }
      return usual(facts)
    }
  const rig = await startRig({
    seed,
    programs,
    ballastMib: stateMib,
    logLevel: 'warn',
    agentEnv: NO_MORE_STANDBYS,
    image,
    cloud: { bootMillis: () => [1000, 1000] },
  })
  const prepare = async () => {
    progress(`${stateMib} MiB: making the state, and starting the workload alone`)
    const own = await measureOwnStart(join(rig.directory, 'alone'), {
      workload: programs.workload,
      stateMib,
      starts: STARTS_ALONE,
      mark: rig.mark,
    })
    prepared = own.state
    measured.millis = own.millis
    progress(`own start: ${own.millis.map((value) => value.toFixed(0)).join(', ')} ms`)
    await rig.launchAgent(AGENT)
    await untilAgent(rig.operator, AGENT.id, 'its workload', isServing)
    await protect(rig)
    rig.settle()
    measured.atRest = await watchAgents(rig.directory, idle)
    for (const { rssMib, cpuPercent, compared } of measured.atRest)
      progress(
        `idle: ${rssMib.toFixed(0)} MiB ${cpuPercent.toFixed(2)} %${compared ? '' : ', still comparing'}`,
      )
  }
  let spoilt: string | undefined
  try {
    await within('the state and its first copy', Math.min(PREPARE_WITHIN, budget.left()), prepare())
  } catch (error) {
    spoilt = messageOf(error)
    progress(`FAILED: ${spoilt}`)
  }
  for (const each of cases) {
    if (spoilt === undefined) progress(`${nameOfPlan(each)}: ${each.runs} runs`)
    const runs =
      spoilt === undefined
        ? await runCase(rig, each, progress, budget.left())
        : { plan: each, runs: [], failures: [`not begun: ${spoilt}`] }
    measured.done.push(runs)
    // What was given up may still go on: nothing can be measured beside it.
    spoilt ??= runs.failures[0]
  }
  const overlaps = await within('the witness', CLOSE_WITHIN, rig.judge.overlaps(rig.witnessFile)).catch(
    (error: unknown) => [`not known: ${messageOf(error)}`],
  )
  await within('the end of all processes', CLOSE_WITHIN, rig.close()).catch((error: unknown) =>
    progress(messageOf(error)),
  )
  return {
    cases: measured.done,
    ownStarts: [{ stateMib, millis: measured.millis }],
    idle: measured.atRest.map((each) => ({ ...each, state_mib: stateMib })),
    processor: [],
    overlaps,
  }
}
