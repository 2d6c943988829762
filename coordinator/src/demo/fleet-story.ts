import { agentId } from '@understudy/shared/core/ids'
import { hasReadyReplica, isServing, type Rig, untilAgent } from './rig.ts'

/** The fleet of the demo: ids as in the customer's examples, names as people give them. */
export interface DemoAgent {
  readonly id: string
  readonly name: string
  readonly client: string
  readonly pool: string
  readonly replica: boolean
}

const roster: readonly Omit<DemoAgent, 'id'>[] = [
  { name: 'api-1', client: 'acme', pool: 'm5.large@us-east-1a', replica: true },
  { name: 'web-1', client: 'acme', pool: 'm6i.large@us-east-1c', replica: true },
  { name: 'queue-1', client: 'globex', pool: 'c5.large@us-east-1b', replica: true },
  { name: 'cache-1', client: 'initech', pool: 'r5.large@us-east-1d', replica: false },
  { name: 'batch-1', client: 'umbrella', pool: 'c6i.large@us-east-1a', replica: false },
]

/** `agent-demo-1`, `agent-demo-2`, …; more than five begin the roster again. */
export const demoAgents = (count: number): readonly DemoAgent[] =>
  Array.from({ length: count }, (_, index) => {
    const base = roster[index % roster.length] ?? roster[0]
    const round = Math.floor(index / roster.length)
    return {
      ...(base as Omit<DemoAgent, 'id'>),
      name: `${base?.name}${round === 0 ? '' : String.fromCharCode(97 + round)}`,
      replica: round === 0 && (base?.replica ?? false),
      id: `agent-demo-${index + 1}`,
    }
  })

/** Starts the primaries, then the standbys, then the client's writing. */
export async function startFleet(
  rig: Rig,
  agents: readonly DemoAgent[],
  writesPerSecond: number,
  say: (text: string) => void,
): Promise<void> {
  for (const agent of agents) await rig.launchAgent(agent)
  await Promise.all(
    agents.map(async ({ id }) => {
      await untilAgent(rig.operator, id, 'its workload', isServing)
      rig.judge.write(id, await rig.cloud.addressPort(agentId(id)), writesPerSecond)
    }),
  )
  say(`${agents.length} agents serve; standbys are being made`)
  const protectedOnes = agents.filter(({ replica }) => replica)
  for (const { id } of protectedOnes) await rig.operator.createReplica(id)
  rig.settle()
  await Promise.all(
    protectedOnes.map(({ id }) => untilAgent(rig.operator, id, 'a ready replica', hasReadyReplica)),
  )
  say(`${protectedOnes.length} standbys are ready`)
}
