import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { agentId } from '@understudy/shared/core/ids'
import { seconds } from '@understudy/shared/core/time'
import { AGENT_NODE_FLAGS } from '../../coordinator/src/demo/agent-runtime.ts'
import { type FailoverResult, play } from '../../coordinator/src/demo/ci-story.ts'
import {
  hasReadyReplica,
  isServing,
  type Rig,
  type RigPrograms,
  startRig,
  untilAgent,
} from '../../coordinator/src/demo/rig.ts'
import { type Bench, type BenchResult, formatTable, percentile } from './bench.ts'
import { findProcesses, type Idle, watchIdle } from './processes.ts'

/**
 * Whole processes, as bundled for production, around the simulated cloud. A notice with a warm replica, side by side
 * with a loss without a word and with a replica that is only made when the notice comes.
 */
export const bench: Bench = {
  summary:
    'How long a workload is without a primary when its instance is taken away, and what an idle agent costs',
  options: {
    runs: { value: 30, doc: 'interruption notices with a warm replica' },
    kills: { value: 10, doc: 'losses without a notice, with a warm replica' },
    cold: { value: 5, doc: 'notices without a replica, which is then made in the 30 s that are left' },
    state: { value: 64, doc: 'MiB of state' },
    rate: { value: 200, doc: 'writes per second, each synced to disk before it is acknowledged' },
    idle: { value: 30, doc: 'seconds for which the agents are watched doing nothing' },
    seed: { value: 1, doc: 'seed of the simulated cloud' },
  },
  run: measure,
}

const AGENT = { id: 'agent-bench', name: 'bench', client: 'bench', pool: 'm5.large@us-east-1a' }
const LEAD = seconds(30)
const dist = fileURLToPath(new URL('../../dist', import.meta.url))

async function measure(options: Readonly<Record<string, number>>, progress: (line: string) => void) {
  const { runs = 0, kills = 0, cold = 0, state = 0, rate = 0, idle = 0, seed = 0 } = options
  progress('building the bundles')
  execFileSync(process.execPath, [fileURLToPath(new URL('../../.ci/build.ts', import.meta.url))])
  const rig = await startRig({
    seed,
    programs: bundles(),
    ballastMib: state,
    logLevel: 'warn',
    cloud: { bootMillis: () => [1000, 1000] },
  })
  try {
    await rig.launchAgent(AGENT)
    await untilAgent(rig.operator, AGENT.id, 'its workload', isServing)
    await protect(rig)
    rig.settle()
    const atRest = await watchAgents(rig, idle)
    progress(
      `idle: ${atRest.map(({ rssMib, cpuPercent }) => `${rssMib.toFixed(0)} MiB ${cpuPercent.toFixed(2)} %`).join(', ')}`,
    )
    rig.judge.write(AGENT.id, await rig.cloud.addressPort(agentId(AGENT.id)), rate)
    const notices = await repeat(rig, runs, 'notice', progress)
    const losses = await repeat(rig, kills, 'kill', progress)
    const made = await repeat(rig, cold, 'notice-no-replica', progress)
    const overlaps = await rig.judge.overlaps(rig.witnessFile)
    return toResult({ notices, losses, made, atRest, overlaps, options })
  } finally {
    await rig.close()
  }
}

const bundles = (): RigPrograms => {
  const coordinator = join(dist, 'coordinator.js')
  return {
    coordinator: [process.execPath, coordinator, 'demo-coordinator'],
    judge: [process.execPath, coordinator, 'demo-judge'],
    // The workload is no part of the product: it is as quick to start as its own file.
    workload: [
      process.execPath,
      fileURLToPath(new URL('../../coordinator/src/demo/kv-server.ts', import.meta.url)),
    ],
    agent: [process.execPath, ...AGENT_NODE_FLAGS, join(dist, 'agent.js')],
  }
}

/** Every agent process of the rig, with nobody writing. */
async function watchAgents(rig: Rig, forSeconds: number): Promise<readonly Idle[]> {
  const pids = findProcesses('agent.js', rig.directory)
  await new Promise((resolve) => setTimeout(resolve, 5000))
  return watchIdle(pids, forSeconds * 1000)
}

async function repeat(
  rig: Rig,
  times: number,
  trigger: FailoverResult['trigger'],
  progress: (line: string) => void,
): Promise<readonly FailoverResult[]> {
  const results: FailoverResult[] = []
  for (let run = 1; run <= times; run += 1) {
    if (trigger === 'notice-no-replica') await unprotect(rig)
    else await protect(rig)
    results.push(
      await play(
        rig,
        trigger,
        AGENT.id,
        (line) => progress(`${run}/${times} ${line}`),
        async (instance) => rig.cloud.interrupt(instance, trigger === 'kill' ? undefined : LEAD),
      ),
    )
  }
  return results
}

/** A ready replica, whether the coordinator makes one by itself or not. */
async function protect(rig: Rig): Promise<void> {
  const { replicas } = await rig.operator.agent(AGENT.id)
  if (replicas.length === 0) await rig.operator.createReplica(AGENT.id)
  // Ready for a while, as it is nearly always: the primary has a lease, and no longer runs alone.
  await untilAgent(
    rig.operator,
    AGENT.id,
    'a ready replica and a lease',
    (agent) => hasReadyReplica(agent) && agent.lease.mode === 'leased',
  )
}

/** Takes every replica away, as if none had ever been wanted. */
async function unprotect(rig: Rig): Promise<void> {
  const { replicas } = await rig.operator.agent(AGENT.id)
  for (const { id } of replicas) await rig.operator.deleteReplica(AGENT.id, id)
  await untilAgent(rig.operator, AGENT.id, 'no replica', (agent) => agent.replicas.length === 0)
}

interface Measured {
  readonly notices: readonly FailoverResult[]
  readonly losses: readonly FailoverResult[]
  readonly made: readonly FailoverResult[]
  readonly atRest: readonly Idle[]
  readonly overlaps: readonly string[]
  readonly options: Readonly<Record<string, number>>
}

function toResult({ notices, losses, made, atRest, overlaps, options }: Measured): BenchResult {
  const scenarios = [
    { name: 'notice, warm replica', results: notices },
    { name: 'no notice, warm replica', results: losses },
    { name: 'notice, replica made then', results: made },
  ].filter(({ results }) => results.length > 0)
  const summaries = scenarios.map(({ name, results }) => ({ name, ...summarize(results) }))
  const base = summaries[0]?.detect_to_promoted_ms.p50
  const rows = summaries.flatMap((summary) => [
    row(`${summary.name}: detect→promoted`, summary.runs, summary.detect_to_promoted_ms, base),
    row(`${summary.name}: no primary`, summary.runs, summary.no_primary_ms, base),
    row(`${summary.name}: client's longest gap`, summary.runs, summary.client_gap_ms, base),
  ])
  const lost = summaries
    .map(
      ({ name, writes_acked, writes_lost }) =>
        `${name}: ${writes_lost} of ${writes_acked} acknowledged writes lost`,
    )
    .join('\n')
  const idle = atRest
    .map(({ rssMib, cpuPercent }) => `${rssMib.toFixed(1)} MiB, ${cpuPercent.toFixed(2)} % of a core`)
    .join('; ')
  const unexpected = [...losses, ...made].filter((result) => !result.as_reported)
  const ok =
    overlaps.length === 0 &&
    unexpected.length === 0 &&
    [...notices, ...losses, ...made].every(({ outcome }) => outcome === 'promoted') &&
    notices.every(({ writes_lost }) => writes_lost === 0)
  return {
    table: [
      formatTable(['milliseconds', 'runs', 'p50', 'p95', 'p99', 'max', 'p50 ratio'], rows),
      '',
      lost,
      `agents at rest (bundled, primary and replica): ${idle}`,
      `two primaries at once: ${overlaps.length === 0 ? 'never' : overlaps.join('; ')}`,
    ].join('\n'),
    json: {
      schema: 'understudy.bench.failover/v1',
      options,
      scenarios: summaries,
      idle: atRest,
      overlaps,
      ok,
    },
    ok,
  }
}

type Percentiles = ReturnType<typeof percentiles>

function summarize(results: readonly FailoverResult[]) {
  return {
    runs: results.length,
    detect_to_promoted_ms: percentiles(results.map((result) => result.detect_to_promoted_ms)),
    no_primary_ms: percentiles(results.map((result) => result.no_primary_ms)),
    client_gap_ms: percentiles(results.map((result) => result.client_gap_ms)),
    writes_acked: Math.max(...results.map(({ writes_acked }) => writes_acked)),
    writes_lost: results.reduce((sum, { writes_lost }) => sum + writes_lost, 0),
  }
}

/** A run that did not get so far has no figure, and is reported as failed instead. */
function percentiles(values: readonly (number | null)[]) {
  const known = values.filter((value) => value !== null)
  return {
    p50: percentile(known, 50),
    p95: percentile(known, 95),
    p99: percentile(known, 99),
    max: Math.max(...known),
  }
}

const row = (name: string, runs: number, { p50, p95, p99, max }: Percentiles, base: number | undefined) => [
  name,
  runs,
  p50,
  p95,
  p99,
  max,
  base === undefined ? '' : (p50 / base).toFixed(1),
]
