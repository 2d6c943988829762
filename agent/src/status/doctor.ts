import { once } from 'node:events'
import { accessSync, constants, existsSync, statfsSync } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, dirname, isAbsolute, join } from 'node:path'
import { AppError, isAppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { enrolmentIn, identityIn, statusSocketOf } from '../config/data-directory.ts'
import { type LoadedConfig, loadConfig } from '../config/load.ts'
import type { AgentConfig } from '../config/options.ts'
import { describeCredentials } from '../identity/identity.ts'
import { createImdsClient } from '../imds/imds-client.ts'
import { parseIdentity } from '../imds/imds-documents.ts'
import { readEnrolment } from '../link/enrolment.ts'
import { probe } from '../link/http.ts'
import { checkPrices } from '../market/check-prices.ts'
import { checkStateDirectories, openXattrs } from '../replication/replication.ts'
import { checkStore } from '../snapshot/snapshot.ts'
import { askStatus } from './status-socket.ts'
import { checkSocketDirectory } from './unix-socket.ts'

interface Check {
  readonly name: string
  readonly ok: boolean
  readonly result: string
  /** What to do; only where it is not ok. */
  readonly fix?: string
}

interface DoctorOptions {
  readonly file: string
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly json: boolean
  readonly print: (text: string) => unknown
}

/** Runs every check that an installation can fail, also when an earlier one did. Exit code 0 or 1. */
export async function doctor({ file, flags, env, json, print }: DoctorOptions): Promise<number> {
  let loaded: LoadedConfig | undefined
  const checks: Check[] = [
    await check('configuration', () => {
      loaded = loadConfig(file, flags, env)
      return `${file} is complete`
    }),
  ]
  if (loaded) checks.push(...(await checkAll(loaded.config)))
  if (json) print(`${JSON.stringify({ schema: 'understudy.agent-doctor/v1', ok: allOk(checks), checks })}\n`)
  else print(checks.map(toLine).join(''))
  return allOk(checks) ? 0 : 1
}

const allOk = (checks: readonly Check[]): boolean => checks.every(({ ok }) => ok)

const toLine = ({ name, ok, result, fix }: Check): string =>
  `${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(18)} ${result}\n${fix ? `      ${' '.repeat(18)} Try: ${fix}\n` : ''}`

async function check(name: string, run: () => Promise<string> | string): Promise<Check> {
  try {
    return { name, ok: true, result: await run() }
  } catch (error) {
    const fix = isAppError(error) ? error.hint : undefined
    return { name, ok: false, result: messageOf(error), ...(fix === undefined ? {} : { fix }) }
  }
}

/** Nothing that an installation fails by: most states have none. */
async function attributesHere(): Promise<string> {
  const { available } = await openXattrs(pino({ level: 'silent' }))
  return available
    ? 'extended attributes are replicated'
    : 'extended attributes are not replicated; if the state has access lists or capabilities, install the package attr on every instance'
}

async function checkAll(config: AgentConfig): Promise<Check[]> {
  const imds = createImdsClient(config.imds_endpoint, systemClock, Math.random)
  const metadata = await check('metadata service', async () => {
    const document = await imds.get('dynamic/instance-identity/document')
    const identity = document === undefined ? undefined : parseIdentity(document)
    if (!identity) throw new Error('it answers, but has no instance identity document')
    return `${identity.instanceId}, ${identity.instanceType} in ${identity.availabilityZone}`
  })
  const spot = () =>
    check('spot', async () => {
      const life = (await imds.get('meta-data/instance-life-cycle'))?.trim() ?? 'unknown'
      return life === 'spot' ? 'a Spot Instance' : `not a Spot Instance (${life}): no notices will come`
    })
  return [
    await check('node', () => `${process.version} on ${process.platform}/${process.arch}`),
    metadata,
    // Asked only where it answers: to wait for nothing twice helps nobody.
    ...(metadata.ok ? [await spot()] : []),
    ...(metadata.ok && config.price_sampling
      ? [await check('prices', () => checkPrices(config, imds, systemClock))]
      : []),
    await check('coordinator', async () => {
      const { status, millis } = await probe(`${config.coordinator_url.replace(/\/+$/, '')}/livez`)
      if (status !== 200) throw new Error(`${config.coordinator_url} answers ${status} for /livez`)
      return `${config.coordinator_url} answers in ${Math.round(millis)} ms`
    }),
    await check('state directories', () => {
      checkStateDirectories(config.workload.state)
      return config.workload.state.join(', ')
    }),
    await check('disk', () => diskOf(config)),
    await check('attributes', attributesHere),
    await check('data directory', () => dataDirectoryOf(config)),
    ...(config.commit_socket === undefined
      ? []
      : [await check('commit socket', () => commitSocketOf(config))]),
    await check('membership', () => membershipOf(config)),
    await check('certificate', () => certificateOf(config)),
    await check('replication port', () => replicationPortOf(config)),
    ...(config.snapshot_store === undefined ? [] : [await check('snapshots', () => snapshotsOf(config))]),
    ...Object.entries(config.workload.hooks).flatMap(([name, hook]) =>
      hook && 'command' in hook ? [checkProgram(`${name} hook`, hook.command[0] ?? '', config)] : [],
    ),
  ]
}

function diskOf(config: AgentConfig): string {
  return config.workload.state
    .map((directory) => {
      if (!existsSync(directory)) throw new Error(`${directory} does not exist`)
      const { bavail, bsize } = statfsSync(directory)
      return `${Math.round((bavail * bsize) / 1e6)} MB free in ${directory}`
    })
    .join(', ')
}

/** The directory itself, or what it would be made in. */
function dataDirectoryOf({ data_dir: path }: AgentConfig): string {
  let place = path
  while (!existsSync(place)) place = dirname(place)
  try {
    accessSync(place, constants.W_OK)
  } catch (cause) {
    throw new AppError('config_invalid', `${place} cannot be written`, {
      hint: 'Run the agent as a user that can, or set data_dir to another directory.',
      cause,
    })
  }
  return place === path ? path : `${path} is made at the first start`
}

function commitSocketOf({ commit_socket: path = '' }: AgentConfig): string {
  const { gid } = checkSocketDirectory(path)
  return `${path}, for group ${gid}`
}

function membershipOf(config: AgentConfig): string {
  const enrolled = readEnrolment(enrolmentIn(config.data_dir))
  if (enrolled) return `${enrolled.instanceId} is an instance of ${enrolled.agentId}`
  if (config.join_token !== undefined) return 'it will join with its token'
  throw new AppError('unauthenticated', 'it has not joined yet, and has no join token', {
    hint: 'Make one with `coordinator token join --agent <id>` and set JOIN_TOKEN.',
  })
}

function certificateOf({ data_dir: data }: AgentConfig): string {
  const enrolled = readEnrolment(enrolmentIn(data))
  if (!enrolled) return 'it comes with the first connection to the coordinator'
  const self = { agent: enrolled.agentId, instance: enrolled.instanceId }
  return describeCredentials(identityIn(data), self, systemClock.now())
}

const snapshotsOf = (config: AgentConfig): Promise<string> =>
  checkStore(config, readEnrolment(enrolmentIn(config.data_dir))?.agentId, systemClock)

async function replicationPortOf(config: AgentConfig): Promise<string> {
  const { replication_host: host, replication_port: port, data_dir: data } = config
  const server = createServer()
  try {
    server.listen(port, host)
    await once(server, 'listening')
    return port === 0 ? 'the system chooses one' : `${port} is free`
  } catch (error) {
    if (
      systemCodeOf(error) === 'EADDRINUSE' &&
      (await askStatus(statusSocketOf(data)).catch(() => undefined))
    )
      return `${port} is in use by the running agent`
    throw new AppError('port_in_use', `port ${port} of ${host} cannot be used (${messageOf(error)})`, {
      hint: 'Set replication_port to another port, or end what uses this one (ss -ltnp).',
      cause: error,
    })
  } finally {
    server.close()
  }
}

function checkProgram(name: string, program: string, config: AgentConfig): Check {
  const places = program.includes('/')
    ? [isAbsolute(program) ? program : join(config.workload.directory ?? '.', program)]
    : (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, program))
  const found = places.find(isExecutable)
  return found
    ? { name, ok: true, result: found }
    : {
        name,
        ok: false,
        result: `${program} is not an executable program`,
        fix: 'Correct its path in workload.hooks, or make it executable (chmod +x).',
      }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
