import { createPublicKey } from 'node:crypto'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isAppError } from '@understudy/shared/core/app-error'
import { agentId, type InstanceId } from '@understudy/shared/core/ids'
import { seconds, systemClock } from '@understudy/shared/core/time'
import { parsePool } from '@understudy/shared/market/pool'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import { type Logger, pino } from 'pino'
import { createImdsClient } from '../../agent/src/imds/imds-client.ts'
import { startCoordinator } from '../../coordinator/src/app.ts'
import { createManualCloud, createNoAddress } from '../../coordinator/src/cloud/manual/manual-cloud.ts'
import type { PriceSources } from '../../coordinator/src/cloud/price-sources.ts'
import { serveControl } from '../../coordinator/src/cloud/simulated/control-api.ts'
import { createRemoteCloud } from '../../coordinator/src/cloud/simulated/remote-cloud.ts'
import {
  createSimulatedCloud,
  type SimulatedCloud,
} from '../../coordinator/src/cloud/simulated/simulated-cloud.ts'
import { coordinatorOptions } from '../../coordinator/src/config/options.ts'
import { createIdentityVerifier } from '../../coordinator/src/fleet/fleet.ts'
import { parseReceivers } from '../../coordinator/src/notifications/notifications.ts'
import { type OpenDatabase, openDatabase, openSqlite } from '../../coordinator/src/storage/database.ts'
import type { Dialect } from '../../coordinator/src/storage/dialect.ts'
import { migrate } from '../../coordinator/src/storage/migrate.ts'
import { testPlace } from '../../coordinator/src/storage/testing.ts'
import { resolveOptions } from '../../shared/src/core/options.ts'
import { connectPuppet, type Puppet } from './puppet.ts'
import { newPuppetDisk, type PuppetDisk, type PuppetPeers } from './puppet-voter.ts'

const log = pino({ level: process.env.TEST_LOG ?? 'silent' })

/** Longer than anything takes where many tests share two processors; what hangs ends here. */
const PATIENCE = 30_000

/** An answer of the API, with its body as it came. */
export interface Answer {
  readonly status: number
  readonly type: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape
  readonly body: any
}

/**
 * A real coordinator with its real HTTP and WebSocket API, in this process, around a simulated cloud whose instances
 * run nothing: the tests speak for them.
 */
export interface Bench {
  readonly url: string
  readonly db: OpenDatabase['db']
  readonly cloud: SimulatedCloud
  readonly adminToken: string
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** Sends exactly these bytes. */
  raw(method: string, path: string, text: string, headers?: Record<string, string>): Promise<Answer>
  joinToken(agent: string, instance?: string): Promise<string>
  /** A token of somebody who may only look, or also act. */
  operatorToken(role: 'viewer' | 'operator'): Promise<string>
  launch(agent: string, pool: string): Promise<InstanceId>
  /** What an agent on the instance would send to enrol. */
  enrolBody(instance: InstanceId, joinToken: string): Promise<Record<string, unknown>>
  enrol(instance: InstanceId, joinToken: string): Promise<Answer>
  connect(agent: string, instance: string, credential: string): Promise<Puppet>
  /** An agent with a primary that serves. */
  primary(agent: string, pool?: string): Promise<Puppet>
  /** A replica of it that is ready; the first one is its successor. */
  replica(agent: string, primary: Puppet, body?: unknown): Promise<{ id: string; puppet: Puppet }>
  /** The primary holds leases, and has said how far its replica is. */
  leased(agent: string): Promise<void>
  /** Speaks for the instance of a replica that somebody has made; it is ready at once. */
  join(agent: string, primary: Puppet, replica: { id: string; instance_id: string }): Promise<Puppet>
  /** Ends the coordinator; its database stays as it is. */
  stop(): Promise<void>
  /** Starts another on the same database, at another address, to which these connect. */
  start(...back: readonly Puppet[]): Promise<void>
  /** Copies the database, which must be on disk; what it returns puts the copy in its place. */
  backUp(): Promise<() => Promise<void>>
  /** Daemons that start there the next time remember nothing. */
  wipe(...instances: readonly string[]): void
  /** What is kept for Idempotency-Keys, as it lies in the database. */
  idempotencyKeys(): Promise<readonly unknown[]>
  close(): Promise<void>
}

export async function startBench(
  options: {
    readonly env?: Readonly<Record<string, string>>
    readonly mode?: 'demo' | 'serve'
    /** The coordinator can start, end and look up nothing, though the instances are the simulated cloud's. */
    readonly manual?: boolean
    /** The database is a file. */
    readonly onDisk?: boolean
    /** SQLite if not said. */
    readonly dialect?: Dialect
    readonly log?: Logger
    /** Where price histories and catalogs come from. */
    readonly prices?: PriceSources
    /** The file of those who are told of incidents, and where its secrets are. */
    readonly receivers?: { readonly text: string; readonly env: Readonly<Record<string, string>> }
  } = {},
): Promise<Bench> {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-contract-'))
  let born = 0
  const cloud = createSimulatedCloud({
    seed: 1,
    clock: systemClock,
    log,
    directory,
    image: () => ({ command: ['sleep', '3600'], env: {} }),
    bootMillis: () => [0, 0],
    newInstanceId: () => {
      born += 1
      return `i-bench${String(born).padStart(3, '0')}`
    },
  })
  const control = await serveControl(cloud)
  const remote = createRemoteCloud(control.url)
  const { values: config } = resolveOptions(coordinatorOptions, {
    flags: {},
    file: {},
    env: {
      API_PORT: '0',
      UNDERSTUDY_DATABASE: ':memory:',
      MODEL_UPLOAD_DIR: join(directory, 'models'),
      UNDERSTUDY_DEFAULT_MODEL: 'false',
      UNDERSTUDY_HEARTBEAT_INTERVAL: '0.05',
      // It outlasts what a process may have to wait for its turn on a busy machine.
      UNDERSTUDY_LEASE: '1',
      UNDERSTUDY_FENCE_BUDGET: '0.1',
      UNDERSTUDY_CLOUD: options.manual ? 'manual' : 'simulated',
      UNDERSTUDY_SPOT_ADVISOR_URL: 'http://127.0.0.1:9/no-test-asks-the-internet',
      ...options.env,
    },
    readSecret: () => '',
  })
  const path = options.onDisk ? join(directory, 'understudy.db') : ':memory:'
  const dialect = options.dialect ?? 'sqlite'
  const place = dialect === 'postgres' ? await testPlace(dialect) : undefined
  let database = place ? await openDatabase(place.place) : openSqlite({ path })
  await migrate(database.db)
  let adminToken = ''

  async function startIt() {
    const coordinator = await startCoordinator({
      config,
      mode: options.mode ?? 'serve',
      database,
      cloud: options.manual ? createManualCloud() : remote.cloud,
      address: options.manual ? createNoAddress() : remote.address,
      prices: options.prices,
      ...(options.receivers
        ? {
            receivers: parseReceivers(options.receivers.text, {
              ...{ name: 'notify.yaml', env: options.receivers.env },
              readSecret: () => '',
            }),
          }
        : {}),
      verifyIdentity: createIdentityVerifier(new Map([['us-east-1', createPublicKey(cloud.identityKey)]])),
      clock: systemClock,
      log: options.log ?? log,
    })
    adminToken ||= await coordinator.tokens.createOperator('test', 'admin', undefined)
    const stop = new AbortController()
    return { coordinator, stop, running: coordinator.run(stop.signal) }
  }
  let current = await startIt()
  const disks = new Map<string, PuppetDisk>()
  const peers = new Map<string, PuppetPeers>()
  const puppets: Puppet[] = []

  async function raw(
    method: string,
    path: string,
    text: string | undefined,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(`${current.coordinator.url}${path}`, {
      method,
      ...(text === undefined ? {} : { body: text }),
      headers: { authorization: `Bearer ${adminToken}`, ...headers },
    })
    const answer = await response.text()
    const type = response.headers.get('content-type') ?? ''
    return { status: response.status, type, body: /json/.test(type) ? JSON.parse(answer) : answer }
  }

  const bench: Bench = {
    get url() {
      return current.coordinator.url
    },
    get db() {
      return database.db
    },
    cloud,
    adminToken,
    raw,
    call: (method, path, body, headers = {}) =>
      raw(method, path, body === undefined ? undefined : JSON.stringify(body), {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      }),
    operatorToken: (role) => current.coordinator.tokens.createOperator(role, role, undefined),
    async joinToken(agent, instance) {
      const { body } = await bench.call('POST', `/api/agents/${agent}/join-tokens`, {
        ...(instance === undefined ? {} : { instance_id: instance }),
      })
      return body.join_token
    },
    async launch(agent, pool) {
      const { instanceId } = await cloud.cloud.launch(
        {
          requestId: `${agent}/${pool}/${Math.random()}`,
          pool: parsePool(pool),
          agentId: agentId(agent),
          userData: { coordinatorUrl: bench.url, joinToken: 'x'.repeat(20) },
        },
        AbortSignal.timeout(PATIENCE),
      )
      return instanceId
    },
    async enrolBody(instance, joinToken) {
      const imds = createImdsClient(cloud.imdsOf(instance).endpoint, systemClock, Math.random)
      return {
        join_token: joinToken,
        identity: {
          document: await patiently(() => imds.get('dynamic/instance-identity/document')),
          signature: (await patiently(() => imds.get('dynamic/instance-identity/signature')))?.replace(
            /\s/g,
            '',
          ),
        },
        life_cycle: 'spot',
        state_directories: 1,
        agent_version: 'puppet',
        protocol: PROTOCOL_VERSION,
      }
    },
    enrol: async (instance, joinToken) =>
      bench.call('POST', '/api/agents/enroll', await bench.enrolBody(instance, joinToken)),
    async connect(agent, instance, credential) {
      const disk = disks.get(instance) ?? newPuppetDisk()
      const others: PuppetPeers = peers.get(agent) ?? new Map()
      disks.set(instance, disk)
      peers.set(agent, others)
      const puppet = await connectPuppet({ url: bench.url, agent, instance, credential, disk, peers: others })
      puppets.push(puppet)
      return puppet
    },
    async primary(agent, pool = 'm5.large@us-east-1a') {
      const token = await bench.joinToken(agent)
      const instance = await bench.launch(agent, pool)
      const { body } = await bench.enrol(instance, token)
      const puppet = await bench.connect(agent, instance, body.credential)
      await until(async () => {
        const { phase, workload } = (await bench.call('GET', `/api/agents/${agent}`)).body
        return phase === 'steady' && workload === 'running'
      })
      return puppet
    },
    async replica(agent, primary, body = {}) {
      const { body: created } = await bench.call('POST', `/api/agents/${agent}/replicas`, body)
      const { instance_id: launched, pool_id: pool } = created.replica
      const instance: InstanceId = launched ?? (await bench.launch(agent, pool))
      const puppet = await bench.join(agent, primary, { id: created.replica_id, instance_id: instance })
      const path = `/api/agents/${agent}/replicas`
      await until(async () =>
        (await bench.call('GET', path)).body.items.some(
          (item: { id: string; status: string }) => item.id === created.replica_id && item.status === 'ready',
        ),
      )
      // The first one that is ready gets a vote, which is an epoch of its own.
      await until(async () => {
        const { phase, successor_id: successor } = (await bench.call('GET', `/api/agents/${agent}`)).body
        return phase === 'steady' && successor !== null
      })
      return { id: created.replica_id, puppet }
    },
    leased: (agent) =>
      until(async () => {
        const { lease, lag_bytes: lag } = (await bench.call('GET', `/api/agents/${agent}`)).body
        return lease.mode === 'leased' && lag !== null
      }),
    async join(agent, primary, { id, instance_id: instance }) {
      // The token went into the user data of the launch; the test asks for one of its own for that instance.
      const token = await replicaToken(bench, id)
      const { body } = await bench.enrol(instance as InstanceId, token)
      const puppet = await bench.connect(agent, instance, body.credential)
      primary.attached = [...primary.attached, puppet.instance]
      return puppet
    },
    async stop() {
      current.stop.abort()
      await current.running
    },
    async start(...back) {
      current = await startIt()
      for (const puppet of back) await puppet.connect(bench.url)
    },
    async backUp() {
      const copy = join(directory, `backup-${Math.random()}.db`)
      const reader = new DatabaseSync(path)
      reader.prepare('vacuum into ?').run(copy)
      reader.close()
      return async () => {
        await database.close()
        for (const end of ['-wal', '-shm']) rmSync(path + end, { force: true })
        copyFileSync(copy, path)
        database = openSqlite({ path })
      }
    },
    wipe(...instances) {
      for (const instance of instances) disks.delete(instance)
    },
    idempotencyKeys: () => database.db.selectFrom('idempotency_keys').selectAll().execute(),
    async close() {
      for (const puppet of puppets) await puppet.close()
      await bench.stop()
      await cloud.close()
      await control.close()
      await database.close()
      await place?.remove()
      rmSync(directory, { recursive: true, force: true })
    },
  }

  async function replicaToken(_: Bench, replicaId: string): Promise<string> {
    const row = await database.db
      .selectFrom('replica_instances')
      .select('agent_id')
      .where('id', '=', replicaId)
      .executeTakeFirstOrThrow()
    return current.coordinator.tokens.createJoin(
      { agentId: row.agent_id, replicaId, instanceId: null },
      seconds(60),
    )
  }

  return bench
}

/** What is asked in this process may be answered too late where others want the same processors: it is asked again. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (const deadline = performance.now() + PATIENCE; ; )
    try {
      return await ask()
    } catch (error) {
      if (!isAppError(error) || !error.retryable || performance.now() > deadline) throw error
    }
}

/** Waits until it holds. */
export async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE
  while (!(await holds())) {
    if (performance.now() > deadline)
      throw new Error(`it did not happen within ${PATIENCE / 1000} s: ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
