import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { MachineImage } from '../../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { exchange } from '../../../coordinator/src/demo/exchange.ts'
import {
  isServing,
  type Rig,
  type RigOptions,
  startRig,
  untilAgent,
} from '../../../coordinator/src/demo/rig.ts'
import { agentId } from '../../../shared/src/core/ids.ts'
import type { AgentView } from '../../../shared/src/protocol/agents.ts'
import type { IncidentView, SwitchView } from '../../../shared/src/protocol/incidents.ts'
import { programs, until } from './programs.ts'

/**
 * Hooks that go wrong on request: a file `fail-<hook>` in the instance's directory makes the hook exit with 3,
 * `hang-<hook>` makes it hang, `slow-<hook>` takes a second longer.
 */
const FAULTS = `cd "$(dirname "$0")"
[ -f "fail-$1" ] && { echo "the test wants $1 to fail" >&2; exit 3; }
[ -f "hang-$1" ] && { echo "the test wants $1 to hang" >&2; exec sleep 60; }
[ -f "slow-$1" ] && sleep 1
`
const HEALTH = `#!/bin/bash
set -- health
${FAULTS}exec 2> /dev/null 3<> "/dev/tcp/127.0.0.1/$SERVICE_PORT"
`

const faulty =
  (usual: MachineImage): MachineImage =>
  (facts) => {
    const machine = usual(facts)
    const { directory } = facts
    const hooks = join(directory, 'workload.sh')
    writeFileSync(hooks, readFileSync(hooks, 'utf8').replace('cd "$(dirname "$0")"\n', FAULTS))
    const health = join(directory, 'health.sh')
    writeFileSync(health, HEALTH)
    chmodSync(health, 0o755)
    const file = join(directory, 'agent.yaml')
    const text = readFileSync(file, 'utf8')
      .replace(
        /http: \S+\/health\n *timeout_seconds: \d+/,
        'command: [./health.sh]\n      timeout_seconds: 3',
      )
      .replace(/- start\n/, '- start\n      timeout_seconds: 3\n')
    writeFileSync(file, text)
    return machine
  }

export interface Fleet {
  readonly rig: Rig
  /** Where the instance has its files. */
  directoryOf(instance: string): string
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** Starts an agent that serves and is written to all the time. */
  agent(id: string): Promise<AgentView>
  /** The same with a standby that is ready, and is its successor to the primary too. */
  protectedAgent(id: string): Promise<AgentView>
  /** Waits until it serves and has a ready standby again, and returns it. */
  untilProtected(id: string, withinMillis?: number): Promise<AgentView>
  switches(id: string): Promise<readonly SwitchView[]>
  /** The only incident that is not in `before`, once it is closed. */
  incidentAfter(id: string, before: ReadonlySet<string>): Promise<IncidentView>
  known(id: string): Promise<ReadonlySet<string>>
  close(): Promise<void>
}

/** No call of the API takes as long as this. */
const CALL_LIMIT = 60_000

export interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape
  readonly body: any
}

export async function startFleet(
  image: (usual: MachineImage) => MachineImage = (usual) => usual,
  options: Partial<Omit<RigOptions, 'image'>> = {},
): Promise<Fleet> {
  const rig = await startRig({
    seed: 11,
    programs,
    // So many interruptions in so short a time would have standbys made that no test has asked for.
    agentEnv: { REBALANCE_THRESHOLD: '1' },
    ...options,
    image: (usual) => image(faulty(usual)),
    cloud: { bootMillis: () => [300, 600], ...options.cloud },
  })
  rig.settle()
  const launched = new Set<string>()
  const fleet: Fleet = {
    rig,
    directoryOf: (instance) => join(rig.directory, 'instances', instance),
    async call(method, path, body, headers = {}) {
      const { status, text } = await exchange(
        `${rig.coordinator.url}${path}`,
        {
          method,
          headers: { 'content-type': 'application/json', ...headers },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        },
        CALL_LIMIT,
      )
      return { status, body: JSON.parse(text) }
    },
    async agent(id) {
      // A test that is tried again goes on with the one that it has.
      const isNew = !launched.has(id)
      if (isNew) await rig.launchAgent({ id, name: id, client: 'acme', pool: 'm5.large@us-east-1a' })
      const agent = await untilAgent(rig.operator, id, 'serving', isServing)
      if (isNew) rig.judge.write(id, await rig.cloud.addressPort(agentId(id)), 50)
      launched.add(id)
      return agent
    },
    async protectedAgent(id) {
      await fleet.agent(id)
      await rig.operator.createReplica(id)
      return fleet.untilProtected(id)
    },
    async untilProtected(id, withinMillis) {
      await untilAgent(rig.operator, id, 'serving', isServing)
      let agent = await rig.operator.agent(id)
      await until(
        `${id} has a standby that may be promoted`,
        async () => {
          agent = await rig.operator.agent(id)
          const ready = agent.replicas.find(
            ({ status, instance_id: instance }) => status === 'ready' && instance === agent.successor_id,
          )
          // Without a lease the primary has not heard of its successor yet.
          if (!ready || !isServing(agent) || agent.lease.mode !== 'leased') return false
          return (
            (await fleet.call('GET', `/api/agents/${id}/replicas/${ready.id}/promote`)).body.possible === true
          )
        },
        withinMillis,
      )
      return agent
    },
    switches: async (id) => (await fleet.call('GET', `/api/switches?agent_id=${id}`)).body.items,
    known: async (id) => new Set((await rig.operator.incidents(id)).map((incident) => incident.id)),
    async incidentAfter(id, before) {
      let fresh: IncidentView[] = []
      await until(`an incident of ${id} is closed`, async () => {
        fresh = (await rig.operator.incidents(id)).filter((incident) => !before.has(incident.id))
        return fresh.length > 0 && fresh.every(({ closed_at: closed }) => closed !== null)
      })
      if (fresh.length !== 1)
        throw new Error(`one event became ${fresh.length} incidents: ${JSON.stringify(fresh)}`)
      return fresh[0] as IncidentView
    },
    close: () => rig.close(),
  }
  return fleet
}
