import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { MachineImage } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { judge, type PlayedOut, untilClosed } from '../../coordinator/src/demo/ci-story.ts'
import { isServing, primaryOf, type Rig, type RigPrograms, startRig } from '../../coordinator/src/demo/rig.ts'
import { messageOf } from '../../shared/src/core/app-error.ts'
import { agentId, type InstanceId } from '../../shared/src/core/ids.ts'
import { seconds } from '../../shared/src/core/time.ts'
import type { AgentView } from '../../shared/src/protocol/agents.ts'
import { within } from '../within.ts'
import { isProtected } from './failover-cases.ts'
import type { CasePlan } from './failover-plan.ts'
import { NO_MORE_STANDBYS } from './failover-programs.ts'
import type { Measured, ProcessorTime } from './failover-report.ts'
import { type Run, toRun } from './failover-run.ts'
import { GATE_HOOKS, type GateInstance } from './gate-server.ts'
import type { Budget } from './limits.ts'
import { findProcesses, processorMillis } from './processes.ts'

const POOL = 'm5.large@us-east-1a'
/** So many agents are being set up at once: they share this machine with everything else. */
const AT_ONCE = 6
/** How often all agents are asked for while they are set up. */
const LOOK_EVERY = 250
const LEAD = seconds(60)
const READS_PER_SECOND = 5
const WARM_UP = 2000
const SEEN_WITHIN = 60_000
/** New instances boot when it is over, as they would on machines of their own. */
const BOOT = [12_000, 25_000] as const
/**
 * A hundred daemons that do nothing take most of two cores as it is: they say so less often. A hand-over waits for no
 * lease, so that its time does not depend on these.
 */
const COORDINATOR_ENV = {
  UNDERSTUDY_HEARTBEAT_INTERVAL: '0.6',
  UNDERSTUDY_LEASE: '4',
  // The usual eight have machines of their own, and here two processors move them all.
  UNDERSTUDY_MOVES_AT_ONCE: '2',
}
const START_WITHIN = 30_000
/**
 * The agents let everything else go first. Linux weighs sessions before it weighs processes where it groups them by
 * session (sched(7), autogroup), and each agent has one of its own.
 */
const BEHIND = [
  'sh',
  '-c',
  '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec nice -n 10 "$@"',
  'sh',
] as const
/** What would run on machines of its own goes before the agents (nice, of the process and of its session). */
const AHEAD = -10
/** Kept for the end of a round, and of everything. */
const ROUND = 75_000
const CLOSE_WITHIN = 15_000

interface Means {
  readonly programs: RigPrograms
  readonly options: Readonly<Record<string, number>>
  readonly progress: (line: string) => void
  readonly budget: Budget
}

/** Many agents at once lose their instances, each with a notice and a replica of its own. */
export async function runMany(plan: CasePlan, means: Means): Promise<Measured> {
  const { programs, options, progress, budget } = means
  const gates = spawn(process.execPath, [fileURLToPath(new URL('./gate-server.ts', import.meta.url))], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const started = startRig({
    seed: options.seed ?? 0,
    programs: { ...programs, agent: [...BEHIND, ...programs.agent] },
    logLevel: 'warn',
    coordinatorEnv: COORDINATOR_ENV,
    agentEnv: NO_MORE_STANDBYS,
    // A calm market: capacity is not what is measured.
    cloud: { bootMillis: () => BOOT, marketMinutesPerSecond: 0 },
    image: (usual) =>
      gated(
        usual,
        plan,
        () => join(rig.directory, 'witness'),
        (instance) => gates.stdin.write(`${JSON.stringify(instance)}\n`),
      ),
  })
  const runs: Run[] = []
  const failures: string[] = []
  const processor: ProcessorTime[] = []
  const result = (overlaps: readonly string[]): Measured => ({
    cases: [{ plan, runs, failures }],
    ownStarts: [],
    idle: [],
    processor,
    overlaps,
  })
  let rig: Rig
  try {
    rig = await within('the start of the coordinator', START_WITHIN, started)
  } catch (error) {
    failures.push(messageOf(error))
    gates.stdin.end()
    return result([])
  }
  if (!goAhead([rig.coordinator.pid, rig.judge.pid, gates.pid, process.pid]))
    progress('the coordinator has no precedence over the agents here: only root may give it')
  try {
    const ids = Array.from({ length: plan.agents }, (_, index) => `agent-many-${index + 1}`)
    const setUp = budget.keeping(ROUND * plan.runs + CLOSE_WITHIN)
    await within('the start of all agents', setUp.left(), launchAll(rig, ids, progress))
    rig.settle()
    for (let round = 1; round <= plan.runs; round += 1) {
      const rest = budget.keeping(CLOSE_WITHIN)
      await within('a ready replica and a lease for each', rest.left(), untilAll(rig, ids, isProtected))
      const struck = await within(`round ${round}`, rest.left(), strikeAll(rig, ids, progress))
      runs.push(...struck.runs)
      processor.push(struck.processor)
      progress(`round ${round}/${plan.runs} of ${ids.length} agents`)
    }
  } catch (error) {
    failures.push(messageOf(error))
    progress(`FAILED: ${messageOf(error)}`)
  } finally {
    gates.stdin.end()
  }
  const overlaps = await within('the witness', CLOSE_WITHIN, rig.judge.overlaps(rig.witnessFile)).catch(
    (error: unknown) => [`not known: ${messageOf(error)}`],
  )
  await within('the end of all processes', CLOSE_WITHIN, rig.close()).catch((error: unknown) =>
    progress(messageOf(error)),
  )
  return result(overlaps)
}

/** The coordinator, the cloud, the clients and the workloads that run already would not share the processors of a hundred agents. */
function goAhead(pids: readonly (number | undefined)[]): boolean {
  try {
    for (const pid of pids) {
      if (pid === undefined) continue
      setPriority(pid, Math.max(-20, getPriority(pid) + AHEAD))
      if (existsSync(`/proc/${pid}/autogroup`)) writeFileSync(`/proc/${pid}/autogroup`, String(AHEAD))
    }
    return true
  } catch {
    return false
  }
}

/** The usual image with other hooks; the first instance of each agent begins with state. */
const gated =
  (
    usual: MachineImage,
    { stateMib }: CasePlan,
    witness: () => string,
    tell: (instance: GateInstance) => void,
  ): MachineImage =>
  (facts) => {
    const machine = usual(facts)
    const { directory, agentId: agent, instanceId: instance, servicePort: port } = facts
    writeFileSync(join(directory, 'workload.sh'), GATE_HOOKS)
    mkdirSync(join(directory, 'state'), { recursive: true })
    if (!seeded.has(agent))
      writeFileSync(join(directory, 'state/content'), randomBytes(stateMib * 1024 * 1024))
    seeded.add(agent)
    tell({ instance, agent, port, directory, witness: witness() })
    return machine
  }
const seeded = new Set<string>()

/** A few at a time, each as soon as there is room: its instance, its replica, its client. */
async function launchAll(rig: Rig, ids: readonly string[], progress: (line: string) => void): Promise<void> {
  const waiting = [...ids]
  const alone = new Set<string>()
  const copying = new Set<string>()
  for (let done = 0; done < ids.length; await sleep(LOOK_EVERY)) {
    for (const id of waiting.splice(0, AT_ONCE - alone.size - copying.size)) {
      await rig.launchAgent({ id, name: id, client: 'bench', pool: POOL })
      alone.add(id)
    }
    for (const agent of await rig.operator.agents()) {
      const { id } = agent
      if (isServing(agent) && alone.delete(id)) {
        await rig.operator.createReplica(id)
        copying.add(id)
      } else if (isProtected(agent) && copying.delete(id)) {
        rig.judge.write(id, await rig.cloud.addressPort(agentId(id)), 0, READS_PER_SECOND)
        done += 1
        if (done % 10 === 0) progress(`${done} of ${ids.length} agents are protected`)
      }
    }
  }
}

async function strikeAll(
  rig: Rig,
  ids: readonly string[],
  progress: (line: string) => void,
): Promise<{ readonly runs: readonly Run[]; readonly processor: ProcessorTime }> {
  await sleep(WARM_UP)
  const primaries = new Map<string, InstanceId>()
  for (const agent of await rig.operator.agents()) primaries.set(agent.id, primaryOf(agent))
  const known = new Map<string, ReadonlySet<string>>()
  for (const id of ids)
    known.set(id, new Set((await rig.operator.incidents(id)).map((incident) => incident.id)))
  for (const id of ids) rig.judge.mark(id)
  const agents = findProcesses('/agent.yaml', rig.directory)
  const coordinator = rig.coordinator.pid === undefined ? [] : [rig.coordinator.pid]
  const before = { coordinator: processorMillis(coordinator), agents: processorMillis(agents) }
  const struckAt = Date.now()
  for (const instance of primaries.values()) rig.cloud.interrupt(instance, LEAD)
  // Nobody asks the coordinator anything until the clients have seen it all.
  const takeovers = await Promise.all(ids.map((id) => rig.judge.takeover(id, SEEN_WITHIN)))
  const served = takeovers.filter((takeover) => takeover !== null).length
  progress(`${served} of ${ids.length} clients are served again after ${Date.now() - struckAt} ms`)
  const each = (now: number, then: number) => Math.round((now - then) / ids.length)
  const processor = {
    agents: ids.length,
    coordinator_ms: each(processorMillis(coordinator), before.coordinator),
    agents_ms: each(processorMillis(agents), before.agents),
  }
  const runs: Run[] = []
  for (const [index, id] of ids.entries()) {
    const incident = await untilClosed(rig, id, known.get(id) ?? new Set())
    const played: PlayedOut = { ...(await judge(rig, 'notice', id, incident)), incident, struckAt }
    runs.push(toRun(played, takeovers[index] ?? null))
  }
  for (const instance of primaries.values())
    await rig.cloud.cloud.terminate(instance, AbortSignal.timeout(5000))
  return { runs, processor }
}

/** Asks for all agents at once. */
async function untilAll(
  rig: Rig,
  ids: readonly string[],
  holds: (agent: AgentView) => boolean,
): Promise<void> {
  for (;;) {
    const ready = (await rig.operator.agents()).filter((agent) => ids.includes(agent.id) && holds(agent))
    if (ready.length === ids.length) return
    await sleep(LOOK_EVERY)
  }
}
