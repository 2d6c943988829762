import { mkdirSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { type AgentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { randomInt, seededRandom } from '@understudy/shared/core/random'
import type { Service } from '@understudy/shared/core/service'
import {
  type Clock,
  everyPeriod,
  type Instant,
  type Millis,
  millis,
  plus,
  sleep,
} from '@understudy/shared/core/time'
import { type Pool, poolId } from '@understudy/shared/market/pool'
import type { Logger } from 'pino'
import type { Address, Cloud, InstanceDescription, LaunchSpec } from '../cloud.ts'
import { type CatalogPool, catalog } from './catalog.ts'
import { type Ec2QueryApi, startEc2QueryApi } from './ec2-query-api.ts'
import { createIdentitySigner, type IdentitySigner } from './identity.ts'
import { type ImdsSimulator, startImdsSimulator } from './imds-simulator.ts'
import { instanceItems } from './instance-items.ts'
import { type InstanceProcess, startInstanceProcess } from './instance-process.ts'
import type { MachineImage } from './machine-image.ts'
import { createMarket, type SimulatedMarket } from './market.ts'
import { createPortAllocator } from './ports.ts'
import { createSimulatedRoles, ROLE_NAME, type SimulatedRoles } from './simulated-roles.ts'
import { openTcpAddress, type TcpAddress } from './tcp-address.ts'

export type { MachineFacts, MachineImage } from './machine-image.ts'

export interface SimulatedCloudOptions {
  readonly seed: number
  readonly clock: Clock
  readonly log: Logger
  /** Everything that the simulation writes is below it. */
  readonly directory: string
  readonly image: MachineImage
  readonly newInstanceId?: () => string
  /** From a launch to its first program, shortest and longest; asked at every launch. */
  readonly bootMillis?: () => readonly [number, number]
  /** How many minutes of market time pass in a second. */
  readonly marketMinutesPerSecond?: number
  /** Interrupts instances by the hazard of their pool, instead of only when told to. */
  readonly randomInterruptions?: boolean
  /** Notice before a random interruption; none at all for undefined. */
  readonly randomLead?: Millis | undefined
  /** The API keeps saying `running` for this long after an instance was lost without being told to end. */
  readonly describeLag?: Millis
  /** Added to every call of the API, one way. */
  readonly apiDelay?: Millis
  /** What is for sale, in place of the usual pools, and a market of one's own that has the same. */
  readonly pools?: readonly CatalogPool[]
  readonly market?: SimulatedMarket
}

/** The cloud as a person behind its curtain sees it: the two ports, and the strings to pull. */
export interface SimulatedCloud extends Service {
  readonly cloud: Cloud
  readonly address: Address
  readonly market: SimulatedMarket
  /** Where prices are asked for, and who may. Opened at the first call. */
  ec2Api(): Promise<Ec2QueryApi>
  readonly roles: SimulatedRoles
  readonly identityKey: string
  instances(): readonly InstanceDescription[]
  imdsOf(instanceId: InstanceId): ImdsSimulator
  /** The port at which clients reach the agent's primary. Opens it the first time. */
  addressPort(agentId: AgentId): Promise<number>
  /** An interruption as EC2 does it: notice, then the end after `lead`. `lead` undefined: the end, without a notice. */
  interrupt(
    instanceId: InstanceId,
    lead: Millis | undefined,
    action?: 'terminate' | 'stop' | 'hibernate',
  ): void
  /** The notice goes away and the instance lives on. */
  withdraw(instanceId: InstanceId): void
  rebalance(instanceId: InstanceId): void
  /** Holds every process of the instance still, as a frozen hypervisor would, and lets them go on. */
  pause(instanceId: InstanceId): void
  resume(instanceId: InstanceId): void
  /** Every process of the instance ends at once, as when its kernel crashes. Its disk stays, and the API sees nothing. */
  crash(instanceId: InstanceId): void
  /** Boots a crashed instance again, from the disk that it had. @throws AppError `conflict` when it has been ended */
  reboot(instanceId: InstanceId): Promise<void>
  /** Ends everything and removes everything. */
  close(): Promise<void>
}

interface Machine {
  readonly id: InstanceId
  readonly agentId: AgentId
  readonly pool: Pool
  readonly launchedAt: Instant
  readonly directory: string
  readonly servicePort: number
  readonly replicationPort: number
  readonly voterPort: number
  readonly imds: ImdsSimulator
  readonly ec2Endpoint: string
  readonly spec: LaunchSpec
  state: InstanceDescription['state']
  /** What the API says until then, after a loss that it has not noticed. */
  staleUntil: number
  process: InstanceProcess | undefined
  cancelEnd: (() => void) | undefined
  /** Once it was ended: its processes and its disk are no more. */
  gone: Promise<void> | undefined
}

const DEFAULT_BOOT = [2000, 4000] as const
const MARKET_TICK = millis(1000)

export function createSimulatedCloud(options: SimulatedCloudOptions): SimulatedCloud {
  const { seed, clock, log, directory, image } = options
  const random = seededRandom(seed)
  const pools = options.pools ?? catalog
  const market = options.market ?? createMarket(seed, pools, () => clock.now())
  const roles = createSimulatedRoles(clock)
  const signer: IdentitySigner = createIdentitySigner()
  const machines = new Map<InstanceId, Machine>()
  const launches = new Map<string, Promise<{ instanceId: InstanceId }>>()
  const addresses = new Map<AgentId, Promise<TcpAddress>>()
  const ports = createPortAllocator()
  const closing = new AbortController()
  let serial = 0
  const newId = options.newInstanceId ?? (() => `i-${(serial++).toString(16).padStart(17, '0')}`)

  let opened: Promise<Ec2QueryApi> | undefined
  const ec2Api = () => {
    opened ??= startEc2QueryApi({ market, pools, roles, clock })
    return opened
  }

  const apiDelay = (signal: AbortSignal) =>
    options.apiDelay ? sleep(clock, options.apiDelay, signal) : Promise.resolve()

  const machineOf = (id: InstanceId): Machine => {
    const machine = machines.get(id)
    if (machine) return machine
    throw new AppError('not_found', `there is no simulated instance ${id}`)
  }

  async function launchOnce(spec: LaunchSpec): Promise<{ instanceId: InstanceId }> {
    const id = poolId(spec.pool)
    const state = market.state(id)
    if (!state) throw new AppError('input_invalid', `the simulated region has no pool ${id}`)
    if (!state.hasCapacity && spec.lifeCycle !== 'on-demand')
      throw new AppError('no_capacity', `there is no Spot capacity in ${id}`, {
        hint: 'Try another pool; capacity comes back when the pool calms down.',
        retryable: true,
      })
    const machine = await createMachine(instanceId(newId()), spec)
    machines.set(machine.id, machine)
    log.info({ event: 'cloud.launched', instance: machine.id, pool: id, agent: spec.agentId })
    const [low, high] = options.bootMillis?.() ?? DEFAULT_BOOT
    clock.timer(millis(randomInt(random, low, high)), () => boot(machine))
    return { instanceId: machine.id }
  }

  async function createMachine(id: InstanceId, spec: LaunchSpec): Promise<Machine> {
    const { pool } = spec
    const launchedAt = clock.now()
    const { document, signature } = signer.sign({ instanceId: id, pool, privateIp: '127.0.0.1', launchedAt })
    const imds = await startImdsSimulator({
      clock,
      items: {
        ...instanceItems({
          instanceId: id,
          pool,
          privateIp: '127.0.0.1',
          document,
          signature,
          lifeCycle: spec.lifeCycle,
        }),
        'meta-data/iam/security-credentials': ROLE_NAME,
        [`meta-data/iam/security-credentials/${ROLE_NAME}`]: () => roles.documentOf(id),
      },
    })
    const servicePort = await ports.next()
    const replicationPort = await ports.next()
    const voterPort = await ports.next()
    return {
      id,
      agentId: spec.agentId,
      pool,
      launchedAt,
      directory: join(directory, 'instances', id),
      servicePort,
      replicationPort,
      voterPort,
      imds,
      ec2Endpoint: (await ec2Api()).endpoint,
      spec,
      state: 'pending',
      staleUntil: 0,
      process: undefined,
      cancelEnd: undefined,
      gone: undefined,
    }
  }

  function boot(machine: Machine): void {
    if (machine.state !== 'pending' || closing.signal.aborted) return
    mkdirSync(machine.directory, { recursive: true })
    mkdirSync(join(directory, 'logs'), { recursive: true })
    const { command, env } = image({
      instanceId: machine.id,
      agentId: machine.agentId,
      directory: machine.directory,
      imdsEndpoint: machine.imds.endpoint,
      ec2Endpoint: machine.ec2Endpoint,
      servicePort: machine.servicePort,
      replicationPort: machine.replicationPort,
      voterPort: machine.voterPort,
      ...machine.spec.userData,
    })
    machine.state = 'running'
    machine.process = startInstanceProcess({
      instanceId: machine.id,
      command,
      env,
      cwd: machine.directory,
      logFile: join(directory, 'logs', `${machine.id}.log`),
    })
  }

  /** Pulls the plug. What was on the instance's own disk is gone. */
  function end(machine: Machine, told: boolean): void {
    if (machine.state === 'terminated') return
    machine.cancelEnd?.()
    machine.state = 'terminated'
    machine.staleUntil = told ? 0 : clock.mono() + (options.describeLag ?? 0)
    void machine.imds.close()
    machine.gone = clearAway(machine)
    log.info({ event: 'cloud.ended', instance: machine.id, told })
  }

  async function clearAway({ id, process, directory: disk }: Machine): Promise<void> {
    await Promise.all([process?.end(), process?.ended])
    try {
      await rm(disk, { recursive: true, force: true })
    } catch (error) {
      // A test may have put a disk of its own there; it goes with the demo's directory.
      log.warn({ event: 'cloud.directory_left', instance: id, why: messageOf(error) })
    }
  }

  function describe(machine: Machine): InstanceDescription {
    const stale = machine.staleUntil > clock.mono()
    return {
      instanceId: machine.id,
      pool: machine.pool,
      state: stale ? 'running' : machine.state,
      privateIp: '127.0.0.1',
      launchedAt: machine.launchedAt,
    }
  }

  const cloud: Cloud = {
    kind: 'simulated',
    canLaunch: true,
    async offers(signal) {
      await apiDelay(signal)
      const at = clock.now()
      return pools.map((entry) => ({
        pool: entry.pool,
        spotPrice: market.state(entry.id)?.price ?? entry.onDemandPrice,
        onDemandPrice: entry.onDemandPrice,
        interruptionBand: entry.interruptionBand,
        at,
      }))
    },
    async launch(spec, signal) {
      await apiDelay(signal)
      const known = launches.get(spec.requestId)
      if (known) return known
      const launched = launchOnce(spec)
      launches.set(spec.requestId, launched)
      // A launch that failed may be tried again under the same id.
      launched.catch(() => launches.delete(spec.requestId))
      return launched
    },
    async describe(id, signal) {
      await apiDelay(signal)
      const machine = machines.get(id)
      return machine && describe(machine)
    },
    async terminate(id, signal) {
      await apiDelay(signal)
      const machine = machines.get(id)
      if (machine) end(machine, true)
    },
  }

  const openAddress = (agentId: AgentId): Promise<TcpAddress> => {
    const known = addresses.get(agentId)
    if (known) return known
    const opened = openTcpAddress(0)
    addresses.set(agentId, opened)
    return opened
  }

  const address: Address = {
    async point({ agentId, instanceId: id, epoch }, signal) {
      await apiDelay(signal)
      const opened = await openAddress(agentId)
      opened.point(epoch, { host: '127.0.0.1', port: machineOf(id).servicePort })
      return `it leads to ${id}`
    },
    async drain({ agentId, epoch }, signal) {
      await apiDelay(signal)
      const opened = await openAddress(agentId)
      opened.drain(epoch)
      return `connections of an epoch below ${epoch} are cut`
    },
  }

  function interrupt(
    id: InstanceId,
    lead: Millis | undefined,
    action: 'terminate' | 'stop' | 'hibernate' = 'terminate',
  ): void {
    const machine = machineOf(id)
    if (machine.state === 'terminated') return
    if (lead === undefined) return end(machine, false)
    machine.imds.announceInterruption(action, plus(clock.now(), lead))
    machine.cancelEnd?.()
    machine.cancelEnd = clock.timer(lead, () => end(machine, true))
  }

  return {
    name: 'simulated-cloud',
    cloud,
    address,
    market,
    ec2Api,
    roles,
    identityKey: signer.publicKey,
    instances: () => [...machines.values()].map(describe),
    imdsOf: (id) => machineOf(id).imds,
    addressPort: async (agentId) => (await openAddress(agentId)).port,
    interrupt,
    withdraw(id) {
      const machine = machineOf(id)
      machine.cancelEnd?.()
      machine.imds.withdrawInterruption()
    },
    rebalance: (id) => machineOf(id).imds.recommendRebalance(clock.now()),
    pause: (id) => machineOf(id).process?.signalAll('SIGSTOP'),
    resume: (id) => machineOf(id).process?.signalAll('SIGCONT'),
    crash: (id) => machineOf(id).process?.signalAll('SIGKILL'),
    async reboot(id) {
      const machine = machineOf(id)
      await machine.process?.ended
      if (machine.state !== 'running')
        throw new AppError('conflict', `the simulated instance ${id} is ${machine.state}`)
      machine.state = 'pending'
      boot(machine)
    },
    run: (signal) =>
      everyPeriod(clock, MARKET_TICK, AbortSignal.any([signal, closing.signal]), () => {
        const minutes = options.marketMinutesPerSecond ?? 1
        market.advance(minutes)
        if (!options.randomInterruptions) return
        for (const machine of machines.values()) {
          const hazard = market.state(poolId(machine.pool))?.interruptionsPerHour ?? 0
          const isSpot = machine.spec.lifeCycle !== 'on-demand'
          if (isSpot && machine.state === 'running' && random() < 1 - Math.exp((-hazard * minutes) / 60))
            interrupt(machine.id, options.randomLead)
        }
      }),
    async close() {
      closing.abort()
      for (const machine of machines.values()) end(machine, true)
      await Promise.all([...machines.values()].map(({ gone }) => gone ?? Promise.resolve()))
      await Promise.all([...addresses.values()].map(async (address) => (await address).close()))
      await (await opened)?.close()
      rmSync(join(directory, 'instances'), { recursive: true, force: true })
    },
  }
}
