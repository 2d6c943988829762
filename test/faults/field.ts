import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MachineFacts } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { isServing, untilAgent } from '../../coordinator/src/demo/rig.ts'
import { agentId, instanceId } from '../../shared/src/core/ids.ts'
import { seconds } from '../../shared/src/core/time.ts'
import type { AgentView } from '../../shared/src/protocol/agents.ts'
import { type Fleet, startFleet } from '../e2e/support/fleet.ts'
import { programs, until } from '../e2e/support/programs.ts'
import { faultyMachine, INSIDE } from './image.ts'
import type { Inside } from './inside.ts'
import { within } from './limits.ts'
import { createMember, type Member } from './member.ts'
import { createNetwork, type Network } from './network.ts'
import { plant } from './plant.ts'
import { createPool } from './pool.ts'
import { coordinatorProcess, isStopped, residentMib, send } from './processes.ts'

/** One coordinator and the agents on which faults are played, one after the other. */
export interface Field {
  readonly fleet: Fleet
  readonly network: Network
  /** An agent that serves, with a standby, everything healed. `isAlone`: with the others nothing is under way. */
  take(isAlone: boolean): Promise<string>
  /** The agent on which a fault was played. Nobody plays any more on one that is spoilt. */
  giveBack(id: string, isSpoilt: boolean): void
  member(instance: string): Member
  membersOf(id: string): readonly Member[]
  /** None of its workload's processes runs. */
  isSilent(member: Member): boolean
  /** Called with each machine before it boots. */
  onBoot(hook: ((facts: MachineFacts) => void) | undefined): void
  readonly coordinator: {
    readonly database: string
    pid(): number
    kill(): Promise<void>
    start(): Promise<void>
    inside(wanted: Inside): void
    residentMib(): number
  }
  /** Ends what a fault has left: lines that are cut, processes that stand still, hooks that fail, a coordinator that is away. */
  heal(id: string): Promise<void>
  close(): Promise<void>
}

const AGENTS = 2
const WRITES_PER_SECOND = 50
/** Heartbeats have gone to and fro by then. */
const STEADY = 400
const HARDLY_EVER = 0.01
/** A process that was killed has ended by then. */
const MACHINE = 10_000
const START = 60_000

const isProtected = ({ lease, phase, successor_id: successor, replicas }: AgentView): boolean =>
  lease.mode === 'leased' &&
  phase === 'steady' &&
  replicas.filter(({ is_active: isActive }) => isActive).length === 1 &&
  replicas.some(({ instance_id: instance, status }) => instance === successor && status === 'ready')

export async function startField(): Promise<Field> {
  const network = await createNetwork()
  const members = new Map<string, Member & { readonly agentId: string }>()
  let boot: ((facts: MachineFacts) => void) | undefined
  const own = mkdtempSync(join(tmpdir(), 'understudy-faults-'))
  const control = join(own, 'coordinator.json')
  const [node = '', ...coordinator] = programs.coordinator
  const fleet = await startFleet(
    faultyMachine(network, (facts) => {
      boot?.(facts)
      members.set(facts.instanceId, { ...createMember(facts), agentId: facts.agentId })
    }),
    {
      programs: { ...programs, coordinator: [node, ...INSIDE, ...coordinator] },
      coordinatorEnv: { FAULT_CONTROL: control },
      // A loss without a word shows in the API after this long.
      cloud: { describeLag: seconds(2) },
    },
  )
  const { rig } = fleet
  const database = join(rig.directory, 'understudy.db')
  let serial = 0
  let isAway = false

  const memberOf = (instance: string): Member => {
    const found = members.get(instance)
    if (!found) throw new Error(`nothing is known of ${instance}`)
    return found
  }
  const membersOf = (id: string) => [...members.values()].filter((member) => member.agentId === id)
  const isRunning = (member: Member) =>
    rig.cloud.instances().some(({ instanceId: id, state }) => id === member.instance && state === 'running')

  async function freshAgent(): Promise<string> {
    serial += 1
    const id = `agent-${serial}`
    await rig.launchAgent({ id, name: id, client: 'acme', pool: 'm5.large@us-east-1a' })
    const agent = await untilAgent(rig.operator, id, 'serving', isServing)
    const primary = memberOf(agent.instance_id ?? '')
    plant(primary.state)
    rig.judge.write(id, await rig.cloud.addressPort(agentId(id)), WRITES_PER_SECOND)
    return id
  }

  /** It may be about to vote. */
  async function remove(id: string, replica: string): Promise<void> {
    await until(
      'a replica too many is removed',
      () =>
        rig.operator.deleteReplica(id, replica).then(
          () => true,
          () => false,
        ),
      5000,
    )
  }

  /** Removes all standbys but the best. Whether there is one. */
  async function keepOne(id: string): Promise<boolean> {
    const { replicas, successor_id: successor } = await rig.operator.agent(id)
    // One that has ended with the primary may still be listed: nobody has missed it yet.
    const lives = (instance: string | null) => instance !== null && isRunning(memberOf(instance))
    const usable = replicas.filter(
      ({ is_active, notice, status, instance_id: instance }) =>
        is_active && !notice && status !== 'failed' && lives(instance),
    )
    const worth = ({ instance_id: instance, status }: AgentView['replicas'][number]): number =>
      Number(instance === successor) * 2 + Number(status === 'ready')
    const [keep] = [...usable].sort((a, b) => worth(b) - worth(a))
    for (const replica of replicas.filter((each) => each !== keep && each.is_active))
      await remove(id, replica.id)
    return keep !== undefined
  }

  /** Brings an agent back to one standby that is ready, whatever was done to it. */
  async function restore(id: string): Promise<AgentView> {
    for (const member of membersOf(id))
      if (isRunning(member) && !member.hasAgent())
        await within('a machine boots again', MACHINE, rig.cloud.reboot(instanceId(member.instance)))
    await untilAgent(rig.operator, id, 'serving again', isServing, 40_000)
    if (!(await keepOne(id))) await rig.operator.createReplica(id)
    await fleet.untilProtected(id)
    // The coordinator may have been making one of its own meanwhile, which nobody could see yet.
    await keepOne(id)
    return fleet.untilProtected(id)
  }

  /** Not before it is the successor, and the primary needs a lease, may a standby take over without its word. */
  async function untilLeased(id: string): Promise<void> {
    await fleet.untilProtected(id)
    let since = performance.now()
    const leased = async () => {
      const agent = await rig.operator.agent(id)
      // One that the coordinator has made by itself beside the one that was asked for.
      if (agent.replicas.filter(({ is_active: isActive }) => isActive).length > 1) await keepOne(id)
      if (!isProtected(agent)) since = performance.now()
      return performance.now() - since > STEADY
    }
    await until(`${id} has a lease and one standby`, leased, 20_000)
  }

  async function protectedAgent(): Promise<string> {
    const id = await freshAgent()
    await rig.operator.createReplica(id)
    await fleet.untilProtected(id)
    return id
  }

  /** Whatever is wrong with it, it is left alone and costs as little as possible. */
  async function retire(id: string): Promise<void> {
    rig.judge.write(id, await rig.cloud.addressPort(agentId(id)), HARDLY_EVER)
    for (const member of membersOf(id)) rig.cloud.crash(instanceId(member.instance))
  }

  const pool = createPool({ size: AGENTS, fresh: protectedAgent, restore, retire })
  const field: Field = {
    fleet,
    network,
    async take(isAlone) {
      // The last scene may have ended before it could be healed.
      if (isAway) await field.coordinator.start()
      const id = await pool.take()
      if (isAlone) await pool.quiet()
      // It may have waited while the coordinator was away.
      await untilLeased(id)
      rig.judge.write(id, await rig.cloud.addressPort(agentId(id)), WRITES_PER_SECOND)
      return id
    },
    giveBack: pool.giveBack,
    member: memberOf,
    membersOf,
    isSilent: (member) => member.workload().every(isStopped),
    onBoot(hook) {
      boot = hook
    },
    coordinator: {
      database,
      pid: () => coordinatorProcess(database) ?? 0,
      async kill() {
        isAway = true
        rig.coordinator.kill()
        await within('the coordinator ends', MACHINE, rig.coordinator.ended)
      },
      async start() {
        await within('the coordinator starts', START, rig.restartCoordinator(0)).catch((error: unknown) => {
          // One that comes up after all would keep the next from its database.
          send(coordinatorProcess(database) ?? 0, 'SIGKILL')
          throw error
        })
        isAway = false
      },
      inside(wanted) {
        writeFileSync(control, JSON.stringify(wanted))
      },
      residentMib: () => residentMib(coordinatorProcess(database) ?? 0),
    },
    async heal(id) {
      boot = undefined
      network.heal()
      field.coordinator.inside({})
      if (isAway) await field.coordinator.start()
      for (const member of membersOf(id).filter(isRunning)) {
        rmSync(join(member.directory, 'filler'), { force: true })
        member.inside({})
        member.mendHooks()
        // The agent only: a workload that stands still may do so because its agent wants it to.
        if (member.hasAgent()) member.signalAgent('SIGCONT')
        rig.cloud.imdsOf(instanceId(member.instance)).clearFaults()
      }
      send(field.coordinator.pid(), 'SIGCONT')
    },
    async close() {
      await fleet.close()
      await network.close()
      rmSync(own, { recursive: true, force: true })
    },
  }
  return field
}
