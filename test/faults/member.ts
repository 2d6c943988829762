import { rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import type { MachineFacts } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import type { InstanceId } from '../../shared/src/core/ids.ts'
import type { Inside } from './inside.ts'
import { agentProcess, send, workloadProcesses } from './processes.ts'

/** One simulated instance with what runs on it, seen from outside. */
export interface Member {
  readonly instance: InstanceId
  readonly directory: string
  readonly state: string
  readonly servicePort: number
  /** @throws Error when it does not run */
  agent(): number
  hasAgent(): boolean
  workload(): readonly number[]
  signalAgent(signal: NodeJS.Signals): void
  signalWorkload(signal: NodeJS.Signals): void
  /** Whether its workload answers now, asked past the address of the agent. */
  answers(): Promise<boolean>
  /** Makes a hook of the workload fail, hang or take longer: `fail-start`, `slow-freeze`. Returns what undoes it. */
  hook(fault: string): () => void
  /** All hooks do what they should again. */
  mendHooks(): void
  /** What the harness does inside of the agent's process. */
  inside(wanted: Inside): void
}

export const controlFile = (directory: string): string => join(directory, 'inside.json')

export function createMember(facts: MachineFacts): Member {
  const { instanceId: instance, directory, servicePort } = facts
  const agent = () => {
    const pid = agentProcess(instance, directory)
    if (pid === undefined) throw new Error(`no agent runs on ${instance}`)
    return pid
  }
  return {
    instance,
    directory,
    state: join(directory, 'state'),
    servicePort,
    agent,
    hasAgent: () => agentProcess(instance, directory) !== undefined,
    workload: () => workloadProcesses(instance, directory),
    signalAgent: (signal) => send(agent(), signal),
    signalWorkload(signal) {
      for (const pid of workloadProcesses(instance, directory)) send(pid, signal)
    },
    answers: () => answersAt(servicePort),
    hook(fault) {
      const file = join(directory, fault)
      writeFileSync(file, '')
      return () => rmSync(file, { force: true })
    },
    mendHooks() {
      for (const kind of ['fail', 'hang', 'slow'])
        for (const hook of ['start', 'stop', 'freeze', 'thaw', 'health'])
          rmSync(join(directory, `${kind}-${hook}`), { force: true })
    },
    inside(wanted) {
      writeFileSync(controlFile(directory), JSON.stringify(wanted))
      if (wanted.act) send(agent(), 'SIGUSR2')
    },
  }
}

const PATIENCE = 250

function answersAt(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const outgoing = request({ host: '127.0.0.1', port, path: '/health', agent: false, timeout: PATIENCE })
    outgoing.on('response', (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    outgoing.on('timeout', () => outgoing.destroy())
    outgoing.on('error', () => resolve(false))
    outgoing.end()
  })
}
