import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { MachineFacts, MachineImage } from '../cloud/simulated/simulated-cloud.ts'
import { AGENT_MALLOC } from './agent-runtime.ts'

export interface ImageOptions {
  /** How to start the agent and the workload: program and first arguments. */
  readonly agentCommand: readonly string[]
  readonly workloadCommand: readonly string[]
  readonly witnessFile: string
  readonly logLevel: string
  /** In the environment of everything that the demo starts, so that nothing can be left behind. */
  readonly mark: Readonly<Record<string, string>>
  readonly agentEnv?: Readonly<Record<string, string>>
  /** MiB of state that the workload has from the beginning. */
  readonly ballastMib?: number
}

/**
 * The machine image of the demo: an agent with its file, and a workload with its hooks, as an operator would bake
 * them into an AMI. Every instance gets the same; what differs comes from the metadata service and the user data.
 */
export function createDemoImage(options: ImageOptions): MachineImage {
  return (facts) => {
    const { directory } = facts
    mkdirSync(join(directory, 'state'), { recursive: true })
    // As after any boot: its number may be that of another process by now.
    rmSync(join(directory, 'workload.pid'), { force: true })
    const hooks = join(directory, 'workload.sh')
    writeFileSync(hooks, hookScript(options.workloadCommand))
    chmodSync(hooks, 0o755)
    writeFileSync(join(directory, 'agent.yaml'), stringify(agentFile(facts, options)))
    return {
      command: [...options.agentCommand, 'run', '--config', join(directory, 'agent.yaml')],
      env: {
        ...options.mark,
        ...AGENT_MALLOC,
        COORDINATOR_URL: facts.coordinatorUrl,
        JOIN_TOKEN: facts.joinToken,
        IMDS_ENDPOINT: facts.imdsEndpoint,
        LOG_LEVEL: options.logLevel,
        ...options.agentEnv,
      },
    }
  }
}

const agentFile = (facts: MachineFacts, options: ImageOptions) => ({
  data_dir: 'agent',
  replication_host: '127.0.0.1',
  replication_port: facts.replicationPort,
  voter_port: facts.voterPort,
  ...(facts.ec2Endpoint === '' ? {} : { ec2_endpoint: facts.ec2Endpoint }),
  workload: {
    state: ['state'],
    environment: {
      SERVICE_PORT: String(facts.servicePort),
      STATE_DIR: join(facts.directory, 'state'),
      WITNESS_FILE: options.witnessFile,
      BALLAST_MIB: String(options.ballastMib ?? 0),
    },
    hooks: {
      start: { command: ['./workload.sh', 'start'] },
      stop: { command: ['./workload.sh', 'stop'] },
      freeze: { command: ['./workload.sh', 'freeze'] },
      thaw: { command: ['./workload.sh', 'thaw'] },
      health: { http: `http://127.0.0.1:${facts.servicePort}/health`, timeout_seconds: 20 },
    },
  },
})

/**
 * Hooks in plain shell, without a program of their own: each takes a few milliseconds. `freeze` stops the process and
 * waits until the kernel says that all of it has stopped.
 */
const hookScript = (workload: readonly string[]): string => `#!/bin/sh
set -u
cd "$(dirname "$0")"
pid=
[ -f workload.pid ] && read -r pid < workload.pid
state() {
  [ -n "$pid" ] && [ -r "/proc/$pid/stat" ] || { echo gone; return; }
  read -r _ _ letter _ < "/proc/$pid/stat" || letter=gone
  [ "$letter" = Z ] && letter=gone
  echo "$letter"
}
case "$1" in
  start)
    [ "$(state)" != gone ] && exit 0
    ${workload.map(quote).join(' ')} >> workload.log 2>&1 &
    echo $! > workload.pid ;;
  stop)
    [ "$(state)" = gone ] && exit 0
    kill -KILL "$pid"
    while [ "$(state)" != gone ]; do :; done
    rm -f workload.pid ;;
  freeze)
    [ "$(state)" = gone ] && { echo "the workload does not run" >&2; exit 1; }
    kill -STOP "$pid"
    until [ "$(state)" = T ]; do :; done ;;
  thaw)
    [ "$(state)" = gone ] && { echo "the workload does not run" >&2; exit 1; }
    kill -CONT "$pid" ;;
esac
`

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`
