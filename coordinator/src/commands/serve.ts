import { AppError } from '@understudy/shared/core/app-error'
import { systemClock } from '@understudy/shared/core/time'
import { type Logger, pino } from 'pino'
import { startCoordinator } from '../app.ts'
import type { Address, Cloud } from '../cloud/cloud.ts'
import { createEc2Prices } from '../cloud/ec2/ec2-prices.ts'
import { createManualCloud, createNoAddress } from '../cloud/manual/manual-cloud.ts'
import { createRemoteCloud, type RemoteCloud } from '../cloud/simulated/remote-cloud.ts'
import type { Invocation } from '../command-line.ts'
import { databasePlace } from '../config/database-place.ts'
import { loadSettings } from '../config/load.ts'
import { ignoredSettings } from '../config/ml-server-options.ts'
import type { CoordinatorConfig } from '../config/options.ts'
import { loadReceivers } from '../config/receivers.ts'
import { demoRoutes } from '../demo/demo.routes.ts'
import { createIdentityVerifier, loadRegionKeys } from '../fleet/fleet.ts'
import { type OpenDatabase, openDatabase } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'

/** Runs until a signal comes. @throws AppError when it cannot start */
export async function serve({ configFile, settings }: Invocation): Promise<number> {
  return run(loadSettings(configFile, settings, process.env), 'serve')
}

/** The same coordinator with the doors open, for the demo that has started it. */
export async function serveForDemo(): Promise<number> {
  const loaded = loadSettings(undefined, {}, process.env)
  if (!isLoopback(loaded.config.api_host))
    throw new AppError('config_invalid', 'the demo listens on the loopback address only')
  return run(loaded, 'demo')
}

async function run(
  { config, settings }: ReturnType<typeof loadSettings>,
  mode: 'serve' | 'demo',
): Promise<number> {
  const log = createLog(config)
  for (const note of ignoredSettings(config)) log.warn({ event: 'config.ignored', note })
  const stop = stopOnSignals(log)
  const world = createWorld(config)
  const keys = config.identity_certificates
    ? loadRegionKeys(config.identity_certificates)
    : (new Map() as ReturnType<typeof loadRegionKeys>)
  const readReceivers = () => loadReceivers(config, process.env)
  const receivers = readReceivers()
  const database = await openDatabase(databasePlace(config))
  try {
    const lost = await takeDatabase(database, stop, log)
    const coordinator = await startCoordinator({
      config,
      settings,
      mode,
      database,
      cloud: world.cloud,
      address: world.address,
      prices: pricesOf(config),
      receivers,
      ...(config.notifications === undefined ? {} : { rereadReceivers: readReceivers }),
      verifyIdentity: createIdentityVerifier(keys),
      clock: systemClock,
      log,
      ...(world.remote && mode === 'demo' ? { extraRoutes: demoExtras(world.remote) } : {}),
    })
    if (mode === 'serve') await assertProtected(config, coordinator.tokens.anyOperator, log)
    log.info({ event: 'coordinator.listening', url: coordinator.url, cloud: config.cloud })
    // Whoever has started this process learns the address, and by the end of the channel this process its end.
    process.send?.({ url: coordinator.url })
    process.once('disconnect', () => stop.abort())
    await coordinator.run(stop.signal)
    log.info({ event: 'coordinator.stopped' })
    return lost() ? 1 : 0
  } finally {
    await database.close()
  }
}

const demoExtras =
  (remote: RemoteCloud): NonNullable<Parameters<typeof startCoordinator>[0]['extraRoutes']> =>
  (showDemo, failover) =>
    demoRoutes(remote, failover, showDemo)

/**
 * From here on no other coordinator decides from this database. When that can no longer be promised, this one ends
 * and is started again by what started it; the agents go on meanwhile. Returns whether it came to that.
 */
async function takeDatabase(
  database: OpenDatabase,
  stop: AbortController,
  log: Logger,
): Promise<() => boolean> {
  let lost = false
  await database.own((why) => {
    lost = true
    log.error({ event: 'database.lost', why })
    stop.abort()
  })
  const done = await migrate(database.db)
  if (done.length > 0) log.info({ event: 'database.migrated', steps: done })
  return () => lost
}

/** Nobody may reach an API to which nobody has a key. */
async function assertProtected(
  config: CoordinatorConfig,
  anyOperator: () => Promise<boolean>,
  log: Logger,
): Promise<void> {
  if (await anyOperator()) return
  const hint = 'Create one first: coordinator token create --name me --role admin'
  if (!isLoopback(config.api_host))
    throw new AppError(
      'config_invalid',
      `there is no operator token, so the API is not opened on ${config.api_host}`,
      {
        hint,
      },
    )
  log.warn({ event: 'coordinator.no_token', hint })
}

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|::1)$/.test(host)

function createWorld(config: CoordinatorConfig): {
  cloud: Cloud
  address: Address
  remote?: RemoteCloud
} {
  if (config.cloud === 'manual') return { cloud: createManualCloud(), address: createNoAddress() }
  if (config.simulated_cloud_url === undefined)
    throw new AppError('config_invalid', 'the simulated cloud needs an address', {
      hint: 'Set SIMULATED_CLOUD_URL, or let `coordinator demo` start everything.',
    })
  const remote = createRemoteCloud(config.simulated_cloud_url)
  return { cloud: remote.cloud, address: remote.address, remote }
}

/** A simulated region has prices too, but neither a catalog nor a Spot Advisor. */
function pricesOf(config: CoordinatorConfig) {
  const { aws_region: regions, ec2_endpoint: endpoint, cloud } = config
  const named = [...regions, ...config.gap_filler_regions, ...config.gap_filler_aws_region]
  if (named.length === 0) return undefined
  const sources = createEc2Prices(endpoint)
  return cloud === 'simulated' ? { ...sources, catalog: undefined } : sources
}

const createLog = (config: CoordinatorConfig): Logger =>
  pino({
    level: config.log_level,
    base: { service: 'understudy-coordinator' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => ({ level }) },
    redact: ['*.credential', '*.join_token', '*.token', 'req.headers.authorization'],
  })

function stopOnSignals(log: Logger): AbortController {
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.once(name, () => {
      log.info({ event: 'coordinator.stopping', signal: name })
      // The second one does not wait.
      process.once(name, () => process.exit(130))
      stop.abort()
    })
  return stop
}
