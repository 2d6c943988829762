import { setTimeout as sleep } from 'node:timers/promises'
import { playOut } from '../../coordinator/src/demo/ci-story.ts'
import { hasReadyReplica, isServing, type Rig, untilAgent } from '../../coordinator/src/demo/rig.ts'
import { messageOf } from '../../shared/src/core/app-error.ts'
import { agentId, type InstanceId } from '../../shared/src/core/ids.ts'
import { seconds } from '../../shared/src/core/time.ts'
import type { AgentView } from '../../shared/src/protocol/agents.ts'
import { within } from '../within.ts'
import type { CasePlan } from './failover-plan.ts'
import { type CaseRuns, type Run, toRun } from './failover-run.ts'

/** The one agent of a rig, and where it begins. */
export const AGENT = { id: 'agent-bench', name: 'bench', client: 'bench', pool: 'm5.large@us-east-1a' }

const LEAD = seconds(30)
/** The client has written for so long when its primary is taken away. */
const WARM_UP = 1500
/** A whole copy of much state, made on two cores that all processes share. */
const COPY_WITHIN = 300_000
/** Nobody takes longer to be seen, but for a replica that has to be made first. */
const SEEN_WITHIN = 10_000
const SEEN_WITHIN_COLD = 40_000
/** One run with the copy that comes before it. */
const RUN_WITHIN = 180_000

/**
 * All runs of one case, with the same agent again and again. What goes wrong, or takes longer than there is time for
 * (`limit`, milliseconds), ends the case and is told.
 */
export async function runCase(
  rig: Rig,
  plan: CasePlan,
  progress: (line: string) => void,
  limit: number,
): Promise<CaseRuns> {
  const runs: Run[] = []
  const ends = performance.now() + limit
  const failures: string[] = []
  try {
    // After a loss the former instance comes back and is the next standby, as after a move by hand; after a notice it cannot.
    const keepsInstances = plan.trigger === 'kill' || plan.trigger === 'planned'
    await rig.operator.change(AGENT.id, {
      auto_replica_enabled: !keepsInstances,
      terminate_after_switch: !keepsInstances,
    })
    for (let run = 1; run <= plan.runs; run += 1)
      runs.push(
        await within(
          `run ${run} of ${plan.runs}`,
          Math.min(RUN_WITHIN, Math.max(0, ends - performance.now())),
          runOnce(rig, plan, (line) => progress(`${run}/${plan.runs} ${line}`)),
        ),
      )
  } catch (error) {
    failures.push(messageOf(error))
    progress(`FAILED: ${messageOf(error)}`)
  }
  return { plan, runs, failures }
}

async function runOnce(
  rig: Rig,
  { trigger, writesPerSecond }: CasePlan,
  say: (line: string) => void,
): Promise<Run> {
  const isCold = trigger === 'notice-no-replica'
  if (isCold) await unprotect(rig)
  else await protect(rig)
  rig.judge.write(AGENT.id, await rig.cloud.addressPort(agentId(AGENT.id)), writesPerSecond)
  await sleep(WARM_UP)
  if (!isCold) await protect(rig)
  let struck: InstanceId | undefined
  let takenOverAt: number | null = null
  const played = await playOut(rig, trigger, AGENT.id, say, async (instance) => {
    struck = instance
    await strike(rig, trigger, instance)
    // Nobody asks the coordinator anything until the client has seen it: answering would compete with what is measured.
    takenOverAt = await rig.judge.takeover(AGENT.id, isCold ? SEEN_WITHIN_COLD : SEEN_WITHIN)
  })
  await rig.judge.rest(AGENT.id)
  if (struck) await clearAway(rig, trigger, struck)
  return toRun(played, takenOverAt)
}

async function strike(rig: Rig, trigger: CasePlan['trigger'], instance: InstanceId): Promise<void> {
  if (trigger === 'kill') return rig.cloud.crash(instance)
  if (trigger !== 'planned') return rig.cloud.interrupt(instance, LEAD)
  const { replicas } = await rig.operator.agent(AGENT.id)
  const ready = replicas.find(({ status }) => status === 'ready')
  if (!ready) throw new Error('the replica is no longer ready')
  await rig.operator.promote(AGENT.id, ready.id)
}

/** What comes after a failover, so that the next one finds things as this one did. */
async function clearAway(rig: Rig, trigger: CasePlan['trigger'], instance: InstanceId): Promise<void> {
  if (trigger === 'planned') return
  // AWS need not be waited for: its time would only fill the disk with former instances.
  if (trigger !== 'kill') return rig.cloud.cloud.terminate(instance, AbortSignal.timeout(5000))
  await rig.cloud.reboot(instance)
  await untilAgent(
    rig.operator,
    AGENT.id,
    'its former primary as a standby',
    (agent) => agent.replicas.length > 0,
  )
}

/** A ready replica, whether the coordinator makes one by itself or not. */
export async function protect(rig: Rig): Promise<void> {
  const { replicas } = await rig.operator.agent(AGENT.id)
  if (replicas.length === 0) await rig.operator.createReplica(AGENT.id)
  await untilAgent(rig.operator, AGENT.id, 'a ready replica and a lease', isProtected, COPY_WITHIN)
}

/** Ready for a while, as it is nearly always: the primary has a lease, and no longer runs alone. */
export const isProtected = (agent: AgentView): boolean =>
  isServing(agent) && hasReadyReplica(agent) && agent.lease.mode === 'leased'

/** Takes every replica away, as if none had ever been wanted. */
async function unprotect(rig: Rig): Promise<void> {
  const { replicas } = await rig.operator.agent(AGENT.id)
  for (const { id } of replicas) await rig.operator.deleteReplica(AGENT.id, id)
  await untilAgent(rig.operator, AGENT.id, 'no replica', (agent) => agent.replicas.length === 0)
}
