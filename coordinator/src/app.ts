import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AppError } from '@understudy/shared/core/app-error'
import { agentId } from '@understudy/shared/core/ids'
import { runServices } from '@understudy/shared/core/service'
import { type Clock, hours, plus, seconds } from '@understudy/shared/core/time'
import type { LeasePolicy } from '@understudy/shared/failover/lease'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import type { DemoView } from '@understudy/shared/protocol/live'
import type { SettingView } from '@understudy/shared/protocol/settings'
import type { Context } from 'hono'
import type { Logger } from 'pino'
import type { Address, Cloud } from './cloud/cloud.ts'
import type { PriceSources } from './cloud/price-sources.ts'
import { environmentOf } from './config/environment.ts'
import type { CoordinatorConfig } from './config/options.ts'
import { settingsRoutes } from './config/settings.routes.ts'
import { type Decisions, openDecisions } from './decisions.ts'
import { drillRoutes } from './drills/drills.routes.ts'
import { createDrills } from './drills/drills.ts'
import { failoverRoutes } from './failover/failover.routes.ts'
import { createFailover, type Failover } from './failover/failover.ts'
import { fleetRoutes } from './fleet/fleet.routes.ts'
import {
  createCredentialRenewal,
  createCredentials,
  createFleetStore,
  createIncidents,
  defaultSettings,
  type IdentityVerifier,
} from './fleet/fleet.ts'
import { createIncidentCounter, metricsSources } from './fleet-metrics.ts'
import { auditRoutes } from './http/audit.routes.ts'
import { createAuditLog } from './http/audit-log.ts'
import { healthRoutes } from './http/health.routes.ts'
import {
  type Api,
  type AppEnv,
  type Audit,
  createApi,
  createAudit,
  createIdempotency,
  createInnerApi,
  createTokens,
  type Tokens,
} from './http/http.ts'
import { createMetrics } from './http/metrics.ts'
import { sessionRoutes } from './http/session.routes.ts'
import { createStaticFiles } from './http/static-files.ts'
import { createCertificateRequests, openAuthority, openVoting } from './identity/identity.ts'
import { createInterruptions } from './interruptions/interruptions.ts'
import { listen, publicUrlOf } from './listening.ts'
import {
  createLinks,
  createTopics,
  createVoterSockets,
  type Links,
  liveRoutes,
  type Topics,
  type VoterSockets,
} from './live/live.ts'
import { openMarket } from './market/open-market.ts'
import { notificationRoutes } from './notifications/notification.routes.ts'
import { createPoster, openNotifications, type Receiver } from './notifications/notifications.ts'
import { readingRoutes } from './readings/readings.routes.ts'
import { createReadings, type Readings } from './readings/readings.ts'
import type { OpenDatabase } from './storage/database.ts'
import { createGroupCommit } from './storage/group-commit.ts'
import { COORDINATOR_VERSION } from './version.ts'

export interface CoordinatorParts {
  readonly config: CoordinatorConfig
  /** What is shown of it. */
  readonly settings?: readonly SettingView[]
  readonly mode: 'demo' | 'serve'
  readonly database: OpenDatabase
  readonly cloud: Cloud
  readonly address: Address
  /** Where prices can be had beside what agents see. */
  readonly prices?: PriceSources | undefined
  /** Who is told of incidents. */
  readonly receivers?: readonly Receiver[]
  /** Reads them anew. @throws AppError `config_invalid` */
  readonly rereadReceivers?: (() => readonly Receiver[]) | undefined
  readonly verifyIdentity: IdentityVerifier
  readonly clock: Clock
  readonly log: Logger
  /** Routes of the demo only. */
  readonly extraRoutes?: (showDemo: (demo: DemoView) => void, failover: Failover) => Api
}

export interface RunningCoordinator {
  /** Where it listens. */
  readonly url: string
  readonly tokens: Tokens
  /** Resolves once everything has ended. */
  run(signal: AbortSignal): Promise<void>
}

/**
 * Puts one coordinator together and opens its port; nothing moves until `run`.
 * @throws AppError `port_in_use`, `config_invalid`, `state_unreadable`
 */
export async function startCoordinator(parts: CoordinatorParts): Promise<RunningCoordinator> {
  const { config, mode, database, cloud, clock, log } = parts
  const { db } = database
  const commit = createGroupCommit(db, clock)
  const started = clock.mono()
  const policy = leasePolicyOf(config)
  const stopping = new AbortController()
  const tokens = createTokens(db, clock)
  const credentials = createCredentials(db, clock)
  const audit = afterEach(createAudit(db, clock), () => readings.touch('change'))
  const fleet = createFleetStore(db, clock, {
    ...defaultSettings,
    auto_switch_enabled: config.auto_switch_enabled,
  })
  const authority = await openAuthority(db, clock, hours(config.certificate_lifetime))
  const voting = await openVoting(db, clock)
  const listening = await listen(config)
  const url = publicUrlOf(config, listening.port)

  const incidents = createIncidents({
    db,
    commit,
    clock,
    log,
    onChange: (incident) => onIncident(incident),
  })
  const createJoinToken = (token: { agentId: string; replicaId: string | null; instanceId: string | null }) =>
    tokens.createJoin(token, hours(1))
  const interruptions = createInterruptions({
    db,
    clock,
    bandsOf: (pools) => market.bandsOf(pools),
    multipliers: config.interruption_multipliers,
  })
  const failover: Failover = createFailover({
    db,
    commit,
    fleet,
    incidents,
    interruptions,
    cloud,
    address: parts.address,
    clock,
    log,
    policy,
    coordinatorUrl: url,
    offlineAfter: seconds(config.heartbeat_timeout),
    replicaCooldown: hours(config.replica_cooldown),
    emptyPoolFor: seconds(config.empty_pool_for),
    movesAtOnce: config.moves_at_once,
    createJoinToken: (agentId, replicaId) => createJoinToken({ agentId, replicaId, instanceId: null }),
    voting,
    send: (instance, message) => links.send(instance, message),
    tell: (instance, message) => voters.send(instance, message),
    onChange: (agentId) => topics.touchAgent(agentId),
    signal: stopping.signal,
  })
  const certify = createCertificateRequests({
    authority,
    fleet,
    log,
    send: (instance, message) => links.send(instance, message),
  })
  const onCertificateRequest = (...asked: Parameters<typeof certify>) => void certify(...asked)
  const links: Links = createLinks({ ...failover.links, onCertificateRequest }, log)
  const voters: VoterSockets = createVoterSockets(failover.voters, log)
  const topics: Topics = createTopics({
    clock,
    log,
    version: COORDINATOR_VERSION,
    mode,
    agentView: (id) => failover.agent(agentId(id)),
  })
  const metrics = createMetrics(metricsSources(failover, links, voters, topics), log)
  const readings: Readings = createReadings({
    ...{ ask: (path) => ask(path), clock, log, registry: metrics.registry },
  })
  const countIncident = createIncidentCounter(metrics)
  const onIncident = (incident: IncidentView) => {
    topics.showIncident(incident)
    countIncident(incident)
    notifications.onIncident(incident)
    readings.touch('incident')
  }
  const notifications = openNotifications({
    ...{ receivers: parts.receivers ?? [], reread: parts.rereadReceivers },
    ...{ db: database.bulk, incidents, clock, log },
    ...{ poster: createPoster(clock), publicUrl: url, registry: metrics.registry, random: Math.random },
  })

  const market = openMarket({
    config,
    database,
    sources: parts.prices,
    registry: metrics.registry,
    offers: failover.offers,
    poolOf: async (id) => (await failover.agent(id)).instance?.pool_id,
    riskOf: (poolId) => decisions.riskOf(poolId),
    audit,
    clock,
    log,
  })

  const decisions: Decisions = await openDecisions({
    ...{ config, database, fleet, failover, interruptions, market, audit, clock, log },
    registry: metrics.registry,
    onAlert: (alert) => {
      notifications.onAlert(alert)
      readings.touch('alert')
    },
    isTest: mode === 'demo' || environmentOf(config) === 'TEST',
  })
  const drills = createDrills({ db, failover, incidents, clock, log })
  const auth = { open: mode === 'demo', tokens, agents: credentials }
  const api = createApi(log, auth, createIdempotency(db, clock))
  const routes = [
    healthRoutes({
      health: async () => {
        const agents = await failover.agents()
        const ok = await database.isWritable()
        return {
          status: ok ? 'healthy' : 'degraded',
          service: 'understudy-coordinator',
          version: COORDINATOR_VERSION,
          database: ok ? 'ok' : 'failing',
          cloud: cloud.kind,
          agents: { total: agents.length, online: agents.filter(({ status }) => status === 'online').length },
          uptime_seconds: Math.round((clock.mono() - started) / 1000),
        }
      },
      readiness: async () => [
        { name: 'database', ok: await database.isWritable(), detail: database.name },
        { name: 'http', ok: true, detail: url },
      ],
    }),
    sessionRoutes(auth),
    fleetRoutes({
      enrolment: {
        store: fleet,
        credentials,
        verify: parts.verifyIdentity,
        useJoinToken: tokens.useJoin,
        cloud,
        onEnrolled: failover.onEnrolled,
      },
      incidents,
      audit,
      createJoinToken: async (token) => ({
        token: await createJoinToken(token),
        expiresAt: plus(clock.now(), hours(1)),
      }),
      onNewAgent: failover.onNewAgent,
      onSettings: (agentId) => topics.touchAgent(agentId),
    }),
    failoverRoutes(failover, audit),
    drillRoutes(drills, audit),
    ...market.routes,
    ...decisions.routes,
    notificationRoutes(notifications, audit),
    settingsRoutes(parts.settings ?? []),
    auditRoutes(createAuditLog(db)),
  ]
  const ask = createInnerApi(log, routes, 'viewer')
  mount(api, [
    ...routes,
    liveRoutes(links, voters, topics, clock),
    readingRoutes(readings),
    ...(parts.extraRoutes ? [parts.extraRoutes((demo) => topics.showDemo(demo), failover)] : []),
  ])
  api.get('/metrics', async (c) => c.body(await metrics.text(), 200, { 'content-type': metrics.contentType }))
  api.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'Understudy coordinator', version: COORDINATOR_VERSION },
  })
  serveDashboard(api, config)
  await failover.load()
  await market.load()
  await decisions.load()
  for (const agent of await failover.agents()) topics.touchAgent(agent.id)
  listening.attach(api)

  return {
    url,
    tokens,
    async run(signal) {
      const renewal = createCredentialRenewal({
        credentials,
        connected: () => links.connected(),
        send: (instance, renewed) => links.send(instance, { type: 'credential', ...renewed }),
        clock,
        log,
      })
      const onAbort = () => stopping.abort()
      signal.addEventListener('abort', onAbort, { once: true })
      try {
        await runServices(
          [
            failover,
            drills,
            topics,
            readings,
            renewal,
            notifications.service,
            ...market.services,
            ...decisions.services,
          ],
          signal,
        )
      } finally {
        stopping.abort()
        await incidents.settled()
        await listening.close()
      }
    },
  }
}

/** The same, and whoever has to know hears of it. */
const afterEach = (audit: Audit, then: () => void): Audit => ({
  async record(entry) {
    await audit.record(entry)
    then()
  },
})

function mount(api: Api, all: readonly Api[]): void {
  for (const routes of all) api.route('/', routes)
}

/** @throws AppError `config_invalid` when the three do not go together */
function leasePolicyOf(config: CoordinatorConfig): LeasePolicy {
  const { lease, heartbeat_interval: heartbeat, fence_budget: fenceBudget } = config
  if (heartbeat * 3 > lease)
    throw new AppError(
      'config_invalid',
      `a lease of ${lease} s is too short for a heartbeat every ${heartbeat} s`,
      { hint: 'Let lease be at least three heartbeats: two of them may be late.' },
    )
  if (fenceBudget >= lease / 2)
    throw new AppError(
      'config_invalid',
      `a fence budget of ${fenceBudget} s is too long for a lease of ${lease} s`,
      { hint: 'Let fence_budget be less than half of the lease: the rest is for renewing it.' },
    )
  return {
    heartbeat: seconds(heartbeat),
    lease: seconds(lease),
    fenceBudget: seconds(fenceBudget),
    drift: 0.01,
  }
}

/** The built dashboard lies beside the bundle, or in its own package in a checkout. */
function serveDashboard(api: Api, config: CoordinatorConfig): void {
  const here = dirname(fileURLToPath(import.meta.url))
  const places = [join(here, 'dashboard'), join(here, '../../dashboard/dist')]
  const directory = config.dashboard_dir ?? places.find((place) => existsSync(join(place, 'index.html')))
  const files = directory === undefined ? undefined : createStaticFiles(directory)
  if (!files) {
    api.get('/', (c) => c.text('The dashboard has not been built. The API works: GET /openapi.json\n'))
    return
  }
  api.get('*', async (c, next) => files(c as Context<AppEnv>) ?? next())
}
