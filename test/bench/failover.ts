import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MachineImage } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import {
  isServing,
  type Rig,
  type RigPrograms,
  startRig,
  untilAgent,
} from '../../coordinator/src/demo/rig.ts'
import type { Bench, BenchResult, Given } from './bench.ts'
import { AGENT, protect, runCase } from './failover-cases.ts'
import { runMany } from './failover-many.ts'
import { measureOwnStart } from './failover-own-start.ts'
import { type FailoverPlan, planFailover } from './failover-plan.ts'
import { bundledPrograms, sourcePrograms } from './failover-programs.ts'
import { aimsOf, type Measured, nameOfPlan, summarize, toJson, toTable } from './failover-report.ts'
import type { CaseRuns } from './failover-run.ts'
import { findProcesses, watchIdle } from './processes.ts'

/**
 * Whole processes, as bundled for production, around the simulated cloud: how long nobody serves when an instance is
 * taken away with a notice, without one, and when a workload is moved by hand.
 */
export const bench: Bench = {
  summary:
    'How long a workload is without a primary when its instance is taken away, and what an idle agent costs',
  options: {
    runs: { value: 4, doc: 'runs of each case; 100 for figures to publish' },
    copy: {
      value: 3072,
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

async function measure(
  options: Readonly<Record<string, number>>,
  progress: (line: string) => void,
  { texts, switches }: Given,
): Promise<BenchResult> {
  const plan = planFailover(options, texts)
  const directory = mkdtempSync(join(tmpdir(), 'understudy-bench-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
  const load = loadavg()
  if (!switches.sources) progress('building the bundles')
  const programs = switches.sources ? sourcePrograms() : bundledPrograms(join(directory, 'dist'))
  const measured = await runAll(plan, { programs, options, progress })
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
}

async function runAll({ states, many }: FailoverPlan, means: Means): Promise<Measured> {
  const parts: Measured[] = []
  for (const state of states) parts.push(await runState(state, means))
  if (many) parts.push(await runMany(many, means))
  return {
    cases: parts.flatMap(({ cases }) => cases),
    ownStarts: parts.flatMap(({ ownStarts }) => ownStarts),
    idle: parts.flatMap(({ idle }) => idle),
    overlaps: parts.flatMap(({ overlaps }) => overlaps),
  }
}

/** All cases of one size of state, on one pair of instances as far as the trigger leaves them. */
async function runState(
  { stateMib, cases }: FailoverPlan['states'][number],
  { programs, options, progress }: Means,
): Promise<Measured> {
  const { idle = 0, seed = 0 } = options
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
    image,
    cloud: { bootMillis: () => [1000, 1000] },
  })
  try {
    progress(`${stateMib} MiB: making the state, and starting the workload alone`)
    const own = await measureOwnStart(join(rig.directory, 'alone'), {
      workload: programs.workload,
      stateMib,
      starts: STARTS_ALONE,
      mark: rig.mark,
    })
    prepared = own.state
    progress(`own start: ${own.millis.map((value) => value.toFixed(0)).join(', ')} ms`)
    await rig.launchAgent(AGENT)
    await untilAgent(rig.operator, AGENT.id, 'its workload', isServing)
    await protect(rig)
    rig.settle()
    const atRest = await watchAgents(rig, idle)
    for (const { rssMib, cpuPercent } of atRest)
      progress(`idle: ${rssMib.toFixed(0)} MiB ${cpuPercent.toFixed(2)} %`)
    const done: CaseRuns[] = []
    for (const each of cases) {
      progress(`${nameOfPlan(each)}: ${each.runs} runs`)
      done.push(await runCase(rig, each, progress))
    }
    return {
      cases: done,
      ownStarts: [{ stateMib, millis: own.millis }],
      idle: atRest.map((each) => ({ ...each, state_mib: stateMib })),
      overlaps: await rig.judge.overlaps(rig.witnessFile),
    }
  } finally {
    await rig.close()
  }
}

/** Every agent process of the rig, with nobody writing. */
async function watchAgents(rig: Rig, forSeconds: number) {
  if (forSeconds === 0) return []
  const pids = findProcesses('/agent.yaml', rig.directory)
  await sleep(5000)
  return watchIdle(pids, forSeconds * 1000)
}
