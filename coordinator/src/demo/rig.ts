import { mkdtempSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import { agentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { seconds, systemClock } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import type { AgentView } from '@understudy/shared/protocol/agents'
import { pino } from 'pino'
import { REGION } from '../cloud/simulated/catalog.ts'
import { serveControl } from '../cloud/simulated/control-api.ts'
import {
  createSimulatedCloud,
  type MachineImage,
  type SimulatedCloud,
  type SimulatedCloudOptions,
} from '../cloud/simulated/simulated-cloud.ts'
import {
  type CoordinatorChild,
  type JudgeChild,
  startBroom,
  startCoordinatorChild,
  startJudgeChild,
} from './children.ts'
import { createDemoImage } from './image.ts'
import type { JudgeAnswer } from './judge.ts'
import { createOperator, type Operator } from './operator.ts'

/** How the programs of the rig are started: from sources, or from bundles. */
export interface RigPrograms {
  readonly coordinator: readonly string[]
  readonly judge: readonly string[]
  readonly agent: readonly string[]
  readonly workload: readonly string[]
}

export interface RigOptions {
  readonly seed: number
  readonly programs: RigPrograms
  readonly port?: number
  readonly ballastMib?: number
  readonly logLevel?: string
  readonly cloud?: Partial<SimulatedCloudOptions>
  /** Another machine image, made from the usual one: tests put faults into it. */
  readonly image?: (usual: MachineImage) => MachineImage
  /** Settings of the coordinator, by environment variable. */
  readonly coordinatorEnv?: Readonly<Record<string, string>>
  /** Settings of every agent, likewise. */
  readonly agentEnv?: Readonly<Record<string, string>>
  readonly onCounters?: (counters: (JudgeAnswer & { kind: 'counters' })['counters']) => void
}

/**
 * The whole system on one machine: a coordinator, agents, workloads and a judging client, each a process of its own,
 * around a simulated cloud. The demo, the end-to-end tests and the benchmarks drive it.
 */
export interface Rig {
  readonly directory: string
  /** For the environment of what else belongs to the rig: it ends with it, however that ends. */
  readonly mark: Readonly<Record<string, string>>
  readonly cloud: SimulatedCloud
  readonly operator: Operator
  readonly judge: JudgeChild
  readonly coordinator: CoordinatorChild
  readonly witnessFile: string
  /** Starts the first instance of an agent. */
  launchAgent(agent: { id: string; name: string; client: string; pool: string }): Promise<InstanceId>
  /** The first instances are there: from now on a launch takes as long as a launch takes. */
  settle(): void
  /** Ends the coordinator as if it had crashed, and starts it again on the same port. */
  restartCoordinator(pauseMillis: number): Promise<void>
  close(): Promise<void>
}

const imageOf = ({ image }: RigOptions) => image ?? ((usual: MachineImage) => usual)

export async function startRig(options: RigOptions): Promise<Rig> {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-'))
  const broom = startBroom(directory)
  const witnessFile = join(directory, 'witness')
  const logs = join(directory, 'logs')
  await mkdir(logs, { recursive: true })
  const level = options.logLevel ?? 'info'
  let initial = true
  let born = 0
  const log = pino({ level }, pino.destination({ dest: join(logs, 'cloud.log'), sync: true }))
  const cloud = createSimulatedCloud({
    seed: options.seed,
    clock: systemClock,
    log,
    directory,
    image: imageOf(options)(
      createDemoImage({
        agentCommand: options.programs.agent,
        workloadCommand: options.programs.workload,
        witnessFile,
        logLevel: level,
        mark: broom.mark,
        ...(options.agentEnv === undefined ? {} : { agentEnv: options.agentEnv }),
        ...(options.ballastMib === undefined ? {} : { ballastMib: options.ballastMib }),
      }),
    ),
    newInstanceId: () => {
      born += 1
      return `i-demo${String(born).padStart(3, '0')}`
    },
    // A loss without a word shows in the API only after a while, as on EC2.
    describeLag: seconds(10),
    ...options.cloud,
    bootMillis: () => (initial ? [0, 0] : (options.cloud?.bootMillis?.() ?? [2000, 4000])),
  })
  const ended = new AbortController()
  const market = cloud.run(ended.signal)
  const control = await serveControl(cloud)
  const keys = join(directory, 'keys')
  const scratch = join(directory, 'tmp')
  await mkdir(keys)
  await mkdir(scratch)
  writeFileSync(join(keys, `${REGION}.pem`), cloud.identityKey)
  const coordinatorLog = pino.destination({ dest: join(logs, 'coordinator.log'), sync: true })

  const ec2 = await cloud.ec2Api()
  const { accessKeyId, secretAccessKey } = cloud.roles.accountKeys

  const startCoordinator = (port: number) =>
    startCoordinatorChild({
      command: options.programs.coordinator,
      env: {
        ...broom.mark,
        // What it leaves there when it is killed goes with the rest.
        TMPDIR: scratch,
        API_PORT: String(port),
        UNDERSTUDY_DATABASE: join(directory, 'understudy.db'),
        MODEL_UPLOAD_DIR: join(directory, 'models'),
        // Its trial takes a second of both cores: only who wants it to be there has it.
        UNDERSTUDY_DEFAULT_MODEL: 'false',
        UNDERSTUDY_CLOUD: 'simulated',
        SIMULATED_CLOUD_URL: control.url,
        AWS_REGION: REGION,
        UNDERSTUDY_EC2_ENDPOINT: ec2.endpoint,
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        UNDERSTUDY_IDENTITY_CERTIFICATES: keys,
        LOG_LEVEL: level,
        ...options.coordinatorEnv,
      },
      onLog: (line) => coordinatorLog.write(`${line}\n`),
    })
  const judge = startJudgeChild({
    command: options.programs.judge,
    env: broom.mark,
    onCounters: (counters) => options.onCounters?.(counters),
  })
  const abandon = async () => {
    ended.abort()
    await judge.stop()
    await cloud.close()
    await control.close()
    await broom.sweep()
  }
  let coordinator: CoordinatorChild
  try {
    coordinator = await startCoordinator(options.port ?? 0)
  } catch (error) {
    await abandon()
    throw error
  }
  const { url } = coordinator
  const operator = createOperator(url)

  return {
    directory,
    mark: broom.mark,
    cloud,
    operator,
    judge,
    get coordinator() {
      return coordinator
    },
    witnessFile,
    async launchAgent({ id, name, client, pool }) {
      const joinToken = await operator.joinToken(id, name, client)
      const { instanceId: launched } = await cloud.cloud.launch(
        {
          requestId: `first/${id}`,
          pool: parsePool(pool),
          agentId: agentId(id),
          userData: { coordinatorUrl: url, joinToken },
        },
        AbortSignal.timeout(5000),
      )
      return launched
    },
    async restartCoordinator(pauseMillis) {
      coordinator.kill()
      await coordinator.ended
      await new Promise((resolve) => setTimeout(resolve, pauseMillis))
      coordinator = await startCoordinator(Number(new URL(url).port))
    },
    async close() {
      ended.abort()
      await judge.stop()
      await coordinator.stop()
      await cloud.close()
      await control.close()
      await market.catch(() => undefined)
      await broom.sweep()
    },
    settle() {
      initial = false
    },
  }
}

/** Waits until `holds` is true of the agent. @throws AppError `not_ready` with the agent's last reason */
export async function untilAgent(
  operator: Operator,
  id: string,
  what: string,
  holds: (agent: AgentView) => boolean,
  withinMillis = 60_000,
): Promise<AgentView> {
  const deadline = performance.now() + withinMillis
  for (;;) {
    const agent = await operator.agent(id)
    if (holds(agent)) return agent
    if (performance.now() > deadline)
      throw new AppError(
        'not_ready',
        `${id}: ${what} did not happen within ${withinMillis / 1000} s (${agent.state}: ${agent.reason})`,
      )
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export const hasReadyReplica = (agent: AgentView): boolean =>
  agent.replicas.some(({ status }) => status === 'ready')

export const isServing = (agent: AgentView): boolean =>
  agent.phase === 'steady' && agent.workload === 'running'

export const primaryOf = (agent: AgentView): InstanceId => instanceId(agent.instance_id ?? '')
