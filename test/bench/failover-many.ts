import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
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
import { isProtected } from './failover-cases.ts'
import type { CasePlan } from './failover-plan.ts'
import type { Measured } from './failover-report.ts'
import { type Run, toRun } from './failover-run.ts'
import { GATE_HOOKS, type GateInstance } from './gate-server.ts'

const POOL = 'm5.large@us-east-1a'
/** So many instances start at once: they share this machine with everything else. */
const BATCH = 5
const LEAD = seconds(60)
const READS_PER_SECOND = 5
const WARM_UP = 2000
const SEEN_WITHIN = 60_000
/** New instances boot when it is over, as they would on machines of their own. */
const BOOT = [12_000, 25_000] as const

interface Means {
  readonly programs: RigPrograms
  readonly options: Readonly<Record<string, number>>
  readonly progress: (line: string) => void
}

/** Many agents at once lose their instances, each with a notice and a replica of its own. */
export async function runMany(plan: CasePlan, { programs, options, progress }: Means): Promise<Measured> {
  const gates = spawn(process.execPath, [fileURLToPath(new URL('./gate-server.ts', import.meta.url))], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const rig = await startRig({
    seed: options.seed ?? 0,
    programs,
    logLevel: 'warn',
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
  try {
    const ids = Array.from({ length: plan.agents }, (_, index) => `agent-many-${index + 1}`)
    await launchAll(rig, ids, progress)
    rig.settle()
    for (let round = 1; round <= plan.runs; round += 1) {
      await untilAll(rig, ids, 'a ready replica and a lease', isProtected)
      runs.push(...(await strikeAll(rig, ids)))
      progress(`round ${round}/${plan.runs} of ${ids.length} agents`)
    }
  } catch (error) {
    failures.push(messageOf(error))
    progress(`FAILED: ${messageOf(error)}`)
  } finally {
    gates.stdin.end()
  }
  const overlaps = await rig.judge.overlaps(rig.witnessFile)
  await rig.close()
  return { cases: [{ plan, runs, failures }], ownStarts: [], idle: [], overlaps }
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

async function launchAll(rig: Rig, ids: readonly string[], progress: (line: string) => void): Promise<void> {
  for (let first = 0; first < ids.length; first += BATCH) {
    const batch = ids.slice(first, first + BATCH)
    for (const id of batch) await rig.launchAgent({ id, name: id, client: 'bench', pool: POOL })
    await untilAll(rig, batch, 'its workload', isServing)
    for (const id of batch) await rig.operator.createReplica(id)
    await untilAll(rig, batch, 'a ready replica', isProtected)
    for (const id of batch) rig.judge.write(id, await rig.cloud.addressPort(agentId(id)), 0, READS_PER_SECOND)
    progress(`${first + batch.length} of ${ids.length} agents are protected`)
  }
}

async function strikeAll(rig: Rig, ids: readonly string[]): Promise<readonly Run[]> {
  await sleep(WARM_UP)
  const primaries = new Map<string, InstanceId>()
  for (const agent of await rig.operator.agents()) primaries.set(agent.id, primaryOf(agent))
  const known = new Map<string, ReadonlySet<string>>()
  for (const id of ids)
    known.set(id, new Set((await rig.operator.incidents(id)).map((incident) => incident.id)))
  for (const id of ids) rig.judge.mark(id)
  const struckAt = Date.now()
  for (const instance of primaries.values()) rig.cloud.interrupt(instance, LEAD)
  // Nobody asks the coordinator anything until the clients have seen it all.
  const takeovers = await Promise.all(ids.map((id) => rig.judge.takeover(id, SEEN_WITHIN)))
  const runs: Run[] = []
  for (const [index, id] of ids.entries()) {
    const incident = await untilClosed(rig, id, known.get(id) ?? new Set())
    const played: PlayedOut = { ...(await judge(rig, 'notice', id, incident)), incident, struckAt }
    runs.push(toRun(played, takeovers[index] ?? null))
  }
  for (const instance of primaries.values())
    await rig.cloud.cloud.terminate(instance, AbortSignal.timeout(5000))
  return runs
}

/** Asks for all agents at once. @throws Error with the first one that is not so far */
async function untilAll(
  rig: Rig,
  ids: readonly string[],
  what: string,
  holds: (agent: AgentView) => boolean,
): Promise<void> {
  const deadline = performance.now() + 240_000
  for (;;) {
    const agents = (await rig.operator.agents()).filter(({ id }) => ids.includes(id))
    const missing = agents.find((agent) => !holds(agent))
    if (!missing && agents.length === ids.length) return
    if (performance.now() > deadline)
      throw new Error(
        `${missing?.id ?? 'an agent'}: ${what} did not happen (${missing?.reason ?? 'unknown'})`,
      )
    await sleep(250)
  }
}
