import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { statusSocketOf } from '../../agent/src/config/data-directory.ts'
import { type AgentStatus, askStatus } from '../../agent/src/status/status-socket.ts'
import { commandLineOf, findProcesses, type Idle, watchIdle } from './processes.ts'

/** What an agent costs at rest. */
export interface AtRest extends Idle {
  /** Both ends have read their whole copy once since it was made, and compared it: nothing of it is left to do. */
  readonly compared: boolean
}

/** With 1 GiB it takes some 20 s on two quiet cores. After this it is watched all the same. */
const COMPARED_WITHIN = 90_000
const LOOK_EVERY = 500
/**
 * What the start and the copy have begun is over by then: for some 10 s code is still compiled that was run often, and
 * garbage collected, which takes as much processor time again as the agent at rest.
 */
const CALM = 15_000

/** Every agent below `directory`, with nobody writing, once the comparison of the first copy is over. */
export async function watchAgents(directory: string, forSeconds: number): Promise<readonly AtRest[]> {
  if (forSeconds === 0) return []
  const pids = findProcesses('/agent.yaml', directory)
  const sockets = pids.map(socketOf)
  const until = performance.now() + COMPARED_WITHIN
  let compared = false
  while (!compared && performance.now() < until) {
    await sleep(LOOK_EVERY)
    compared = isCompared(await Promise.all(sockets.map(askStatus)))
  }
  await sleep(CALM)
  return (await watchIdle(pids, forSeconds * 1000)).map((each) => ({ ...each, compared }))
}

/** By what the primaries among them say. */
export function isCompared(statuses: readonly Pick<AgentStatus, 'role' | 'replicas'>[]): boolean {
  const primaries = statuses.filter(({ role }) => role === 'primary')
  const replicas = primaries.flatMap((status) => status.replicas)
  return replicas.length > 0 && replicas.every(({ verified }) => verified.passes > 0)
}

/** The demo's image keeps the agent's data beside its file. */
function socketOf(pid: number): string {
  const file = commandLineOf(pid).find((word) => word.endsWith('/agent.yaml'))
  if (file === undefined) throw new Error(`process ${pid} has ended, or is no agent`)
  return statusSocketOf(join(dirname(file), 'agent'))
}
