import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { MachineFacts, MachineImage } from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { controlFile } from './member.ts'
import type { Network } from './network.ts'

/** Loaded into a program before its own code. */
export const INSIDE = ['--import', fileURLToPath(new URL('inside.ts', import.meta.url))] as const

/**
 * With a file `keep-tree` in the instance's directory, `start` and `freeze` leave a copy of the state behind: as it was
 * when the workload was frozen, and as the next one found it. Only a whole copy has the name: the agent may end a hook
 * that takes too long.
 */
const KEEP_AT_START = `cd "$(dirname "$0")"
[ "$1" = start ] && [ -f keep-tree ] && { rm -rf kept-start copying; cp -a state copying && mv copying kept-start; }
`
const KEEP_AT_FREEZE = `status=$?
[ "$1" = freeze ] && [ -f keep-tree ] && { rm -rf kept-freeze copying; cp -a state copying && mv copying kept-freeze; }
exit $status
`

/** The usual machine behind gates of its own, with the harness inside its agent and hooks that keep trees. */
export const faultyMachine =
  (network: Network, onBoot: (facts: MachineFacts) => void) =>
  (usual: MachineImage): MachineImage =>
  (facts) => {
    mkdirSync(facts.directory, { recursive: true })
    onBoot(facts)
    const { coordinatorUrl, advertise } = network.connect(facts)
    const { command, env } = usual({ ...facts, coordinatorUrl })
    const { directory } = facts
    const file = join(directory, 'agent.yaml')
    // A busy machine is not an unhealthy workload.
    const text = readFileSync(file, 'utf8').replace(/(health\.sh\]?\n\s+timeout_seconds:) 3/, '$1 10')
    writeFileSync(file, `${text}replication_advertise: ${advertise}\n`)
    const hooks = join(directory, 'workload.sh')
    const script = readFileSync(hooks, 'utf8').replace('cd "$(dirname "$0")"\n', KEEP_AT_START)
    writeFileSync(hooks, script + KEEP_AT_FREEZE)
    const [node = '', ...rest] = command
    return { command: [node, ...INSIDE, ...rest], env: { ...env, FAULT_CONTROL: controlFile(directory) } }
  }
