import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { get } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDemoImage } from '../../coordinator/src/demo/image.ts'
import { agentId, instanceId } from '../../shared/src/core/ids.ts'

export interface OwnStart {
  /** The state that was started on, complete and at rest. */
  readonly state: string
  /** From the start hook until the health check succeeds, milliseconds. */
  readonly millis: readonly number[]
}

const WITHIN = 120_000

/**
 * Makes the state of a workload in `directory`, and starts the workload on it again and again by its own hook, without
 * any agent: what no failover can be quicker than.
 */
export async function measureOwnStart(
  directory: string,
  {
    workload,
    stateMib,
    starts,
    mark,
  }: {
    workload: readonly string[]
    stateMib: number
    starts: number
    /** In the environment of the workload, so that it does not outlive the rig. */
    mark: Readonly<Record<string, string>>
  },
): Promise<OwnStart> {
  mkdirSync(directory, { recursive: true })
  const port = await freePort()
  createDemoImage({
    agentCommand: [],
    workloadCommand: workload,
    witnessFile: '',
    logLevel: 'info',
    mark: {},
    ballastMib: stateMib,
  })({
    instanceId: instanceId('i-alone'),
    agentId: agentId('agent-alone'),
    directory,
    imdsEndpoint: '',
    ec2Endpoint: '',
    servicePort: port,
    replicationPort: 0,
    voterPort: 0,
    coordinatorUrl: '',
    joinToken: '',
  })
  const state = join(directory, 'state')
  const hook = (name: 'start' | 'stop') =>
    ended(
      spawn(join(directory, 'workload.sh'), [name], {
        cwd: directory,
        env: {
          ...process.env,
          ...mark,
          SERVICE_PORT: String(port),
          STATE_DIR: state,
          BALLAST_MIB: String(stateMib),
        },
        stdio: 'ignore',
      }),
    )
  const millis: number[] = []
  try {
    // The first start makes the state.
    for (let start = 0; start <= starts; start += 1) {
      const began = performance.now()
      await hook('start')
      await untilHealthy(port, began + WITHIN)
      if (start > 0) millis.push(performance.now() - began)
      await hook('stop')
    }
  } finally {
    await hook('stop')
  }
  return { state, millis }
}

async function untilHealthy(port: number, deadline: number): Promise<void> {
  while (!(await isHealthy(port))) {
    if (performance.now() > deadline) throw new Error('the workload alone did not become healthy')
    await sleep(5)
  }
}

const isHealthy = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    get({ host: '127.0.0.1', port, path: '/health', agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    }).on('error', () => resolve(false))
  })

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`a hook of the workload ended with ${code}`)),
    )
  })

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
