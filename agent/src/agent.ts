import { randomUUID } from 'node:crypto'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import { runServices } from '@understudy/shared/core/service'
import { type Clock, millis, seconds } from '@understudy/shared/core/time'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import type { CoordinatorMessage, Heartbeat, Report, Upstream } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import { isReadyToSucceed } from './commit/commit.ts'
import type { DataDirectory } from './config/data-directory.ts'
import { type AgentConfig, voterPortOf } from './config/options.ts'
import type { ServiceWatchdog } from './guard/service-watchdog.ts'
import { openIdentity } from './identity/identity.ts'
import { createImdsClient } from './imds/imds-client.ts'
import { createNoticeWatcher } from './imds/notice-watcher.ts'
import { reportNotices } from './imds/report-notices.ts'
import { advertised, socketUrl } from './link/addresses.ts'
import { keepCredential } from './link/enrolment.ts'
import { join } from './link/join.ts'
import { createLink, type LinkPeer } from './link/link.ts'
import { openMarket } from './market/market.ts'
import { openRecord, recordStatus, withRecord } from './record/record.ts'
import { checkStateDirectories, openReplication } from './replication/replication.ts'
import { openCuts } from './role/cuts.ts'
import { createHandOverWatch } from './role/hand-over-watch.ts'
import { createHooks } from './role/hooks.ts'
import { keepLastWrites } from './role/last-writes.ts'
import { createRole } from './role/role.ts'
import { keepNotices, openRoleStore } from './role/role-store.ts'
import { stopAtEnd } from './role/stop-at-end.ts'
import { createEmergencySnapshot, openSnapshots, situationOf } from './snapshot/snapshot.ts'
import { copyReport, roleStatus, streamHeartbeat, streamStatus } from './status/agent-status.ts'
import { degradationsOf } from './status/degradations.ts'
import { openLocalSockets } from './status/local-sockets.ts'
import { createProgressLog } from './status/progress-log.ts'
import type { AgentStatus } from './status/status-socket.ts'
import { AGENT_VERSION } from './version.ts'
import { openVoter, toWire, voterHello, voterService } from './voter/voter.ts'

const MIB = 1024 * 1024
/** How long the last reports may take when the successor has taken over. */
const REPORT_BUDGET = millis(500)

export interface AgentSurroundings {
  readonly config: AgentConfig
  readonly data: DataDirectory
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Told by whoever runs the process; undefined in a test. */
  readonly watchdog?: ServiceWatchdog
}

/**
 * The agent of one instance, from enrolment to the end of `signal`. Trouble with the metadata service or the
 * coordinator shows as degraded and never ends it; what only a person can change does.
 * @throws AppError
 */
export async function runAgent(surroundings: AgentSurroundings, signal: AbortSignal): Promise<void> {
  const { config, data, clock, random, log } = surroundings
  checkStateDirectories(config.workload.state)
  const imds = createImdsClient(config.imds_endpoint, clock, random)
  const enrolment = await join({ config, path: data.enrolment, imds, clock, random, log }, signal)
  const self = instanceId(enrolment.instanceId)
  const agent = agentId(enrolment.agentId)
  const store = openRoleStore(data.role)
  const boot = randomUUID()
  let upstream: Upstream | undefined
  let openNotice: string | undefined

  const record = openRecord({
    directory: data.record,
    self,
    config,
    version: AGENT_VERSION,
    clock,
    log,
  })
  const identity = openIdentity({
    path: data.identity,
    self: { agent, instance: self },
    send: (request) => link.request(request),
    clock,
    random,
    log,
  })
  const snapshots = await openSnapshots({
    config,
    data,
    agent,
    instance: self,
    situation: () => situationOf(role.member, replication.lags(), openNotice !== undefined),
    clock,
    log,
  })
  const replication = await openReplication({
    self,
    identity,
    stateDirectories: config.workload.state,
    selection: config.workload,
    recordDirectory: record.directory,
    dataDirectory: data.replication,
    host: config.replication_host,
    port: config.replication_port,
    limits: {
      memoryBytes: config.replication_memory * MIB,
      bytesPerSecond: config.replication_bandwidth * MIB,
      cutsOnly: config.workload.cut_every_seconds !== undefined,
    },
    clock,
    random,
    log,
    onCopy: () => reportCopy(),
  })
  // The same after a restart of the daemon, and never that of another one on this machine.
  const workloadKey = `${agent}/${self}:${config.data_dir}`
  const voter = await openVoter({
    agent,
    self,
    path: data.voter,
    url: socketUrl(config.coordinator_url, agent, 'voter'),
    credential: enrolment.credential,
    identity,
    host: config.replication_host,
    port: voterPortOf(config),
    workloadKey,
    clock,
    random,
    log,
  }).catch(async (error: unknown) => {
    await replication.close()
    throw error
  })
  const ownHooks = createHooks(config.workload, workloadKey, clock, log)
  const cuts = openCuts(config.workload, {
    hooks: ownHooks,
    key: workloadKey,
    clock,
    log,
    cut: (hold) => record.still(() => replication.cut(hold)),
    self: { agent, instance: self },
    member: () => role.member,
    isFollowed: () => replication.lags().length > 0,
    onStuck: (why) => role.dispatch({ kind: 'unable', why }),
  })
  const hooks = stopAtEnd(cuts?.hooks ?? ownHooks, signal, log)
  const role = createRole({
    agent,
    instance: self,
    policy: defaultLeasePolicy,
    freezeBudget: seconds(config.freeze_budget),
    clock,
    hooks,
    replication: withRecord(replication, record),
    recovery: snapshots.recovery,
    store,
    voter,
    log,
    report: (report) => send(report),
    followUpstream: (term, primary) => {
      if (upstream?.instanceId === primary) replication.follow(term, upstream)
      reportCopy()
    },
    onChange: () => {
      record.onRole(role.member)
      market.changed()
      link.beatSoon()
    },
  })

  const peer: LinkPeer = {
    hello: () => ({
      agentVersion: AGENT_VERSION,
      instanceId: self,
      boot,
      role: role.member.role.kind,
      epoch: role.member.epoch,
      replication: advertised(config, enrolment, { port: replication.port, voterPort: voter.port }),
      voter: voterHello(voter, role.member.exposed),
    }),
    heartbeat,
    onMessage,
    onConnected: () => {
      identity.connected()
      market.connected()
      reportCopy()
    },
  }
  const link = createLink({
    url: socketUrl(config.coordinator_url, agent, 'link'),
    credential: enrolment.credential,
    peer,
    clock,
    random,
    log,
  })

  const market = openMarket({
    config,
    path: data.prices,
    record: record.prices,
    imds,
    agent,
    self,
    credential: enrolment.credential,
    role: () => role.member.role.kind,
    hasNotice: () => openNotice !== undefined,
    isConnected: () => link.connected,
    clock,
    random,
    log,
  })

  /** A role change is followed by the word on what this instance holds now. */
  function send(report: Report): void {
    link.report(report)
    if (report.kind === 'fenced' || report.kind === 'promotion-failed') reportCopy()
  }

  const reportCopy = () => link.report(copyReport(replication, role.member, snapshots.recovery.unfinished))

  function heartbeat(): Omit<Heartbeat, 'type' | 'seq' | 'sentAt'> {
    const { member } = role
    return {
      role: member.role.kind,
      epoch: member.epoch,
      workload: member.workload,
      lease: { kind: member.lease.kind },
      ...streamHeartbeat(replication, member),
      roundTripMillis: link.roundTrip,
      degraded: degraded().slice(0, 32),
    }
  }

  const emergencySnapshot = createEmergencySnapshot({
    service: snapshots.service,
    report: (report) => link.report(report),
    clock,
  })

  const keptCredential = keepCredential(data.enrolment, enrolment, clock, log)
  const keptNotices = keepNotices(store, clock, log)
  const kept = [keptCredential, keptNotices]

  function onMessage(message: CoordinatorMessage): void {
    switch (message.type) {
      case 'welcome':
        voter.greeted(message)
        return role.setPolicy(message.policy)
      case 'replicas':
        voter.allowPeers(message.replicas.map(({ instanceId: replica }) => replica))
        return replication.allow(message.term, message.replicas)
      case 'order':
        if (message.upstream) {
          upstream = message.upstream
          voter.dial({ ...message.upstream, epoch: message.order.epoch })
        }
        return role.dispatch({ kind: 'order', order: message.order })
      case 'snapshot':
        return emergencySnapshot(message.incident)
      case 'credential':
        link.useCredential(message.credential)
        voter.useCredential(message.credential)
        market.useCredential(message.credential)
        return keptCredential.keep(message.credential)
      case 'certificate':
        return identity.accept(message)
      case 'certificate-refused':
        return identity.refused(message)
      case 'report-ack':
      case 'refused':
        return
    }
  }

  const notices = reportNotices({
    report: (report) => link.report(report),
    onOpen(notice, end) {
      openNotice = notice.id
      handOvers.noticed(end)
      market.noticed(end)
    },
    onWithdrawn() {
      openNotice = undefined
      market.changed()
      handOvers.withdrawn()
    },
    remember: keptNotices.keep,
    clock,
    log,
  })
  const watcher = createNoticeWatcher({
    imds,
    clock,
    interval: seconds(config.interruption_check_interval),
    memory: store.memory,
    listener: notices,
    log,
  })

  const degraded = () =>
    degradationsOf(
      { degraded: [...link.degraded, ...voter.degraded] },
      [watcher, identity, ...kept, snapshots.service, cuts, market, surroundings.watchdog],
      replication,
    )

  const handOvers = createHandOverWatch({
    self,
    look: () => ({
      member: role.member,
      successor: voter.state.certificate?.proposal.successor ?? null,
      peers: voter.state.peers,
      attached: replication.lags().flatMap(({ instance, lag }) => (lag.attached ? [instance] : [])),
      linked: link.connected,
    }),
    primary: () => voter.state.certificate?.proposal.primary,
    order: (order) => role.dispatch({ kind: 'order', order }),
    clock,
    log,
  })

  function status(): AgentStatus {
    return {
      schema: 'understudy.agent-status/v1',
      version: AGENT_VERSION,
      coordinator_url: config.coordinator_url,
      connected: link.connected,
      ...roleStatus({ agent, self }, role.member, voter, clock),
      ...streamStatus(replication),
      cuts: cuts?.status ?? null,
      snapshots: snapshots.service?.status ?? null,
      open_notice: openNotice ?? null,
      record: recordStatus(record),
      prices: market.status,
      degraded: degraded(),
    }
  }

  const asked = { config, data, status, replication, voter, role, snapshots, clock, log }
  const servers = await openLocalSockets(asked).catch(async (error: unknown) => {
    await voter.close()
    await replication.close()
    throw error
  })
  const progressLog = createProgressLog({
    every: seconds(config.sync_update_interval),
    isReplica: () => role.member.role.kind === 'replica',
    replication,
    clock,
    log,
  })
  const services = new AbortController()
  const voting = voterService(voter, {
    onEffect(effect) {
      if (effect.kind === 'certified') link.report({ ...effect, certificate: toWire(effect.certificate) })
      role.onVoter(effect)
    },
    onPrepare: (target) => isReadyToSucceed(replication, target),
    onLease: (lease) => role.dispatch({ kind: 'lease', lease }),
    onKilled: (_, left) => role.dispatch({ kind: 'killed', left: left > 0 }),
  })
  /** The successor takes over before this agent ends, if it can. */
  async function end(): Promise<void> {
    if (await handOvers.beforeEnd()) await link.untilSent(REPORT_BUDGET)
    services.abort()
  }
  const onStop = () => void end()
  signal.addEventListener('abort', onStop, { once: true })
  try {
    await role.boot()
    log.info({
      event: 'agent.ready',
      agent,
      instance: self,
      role: role.member.role.kind,
      epoch: role.member.epoch,
    })
    if (signal.aborted) services.abort()
    await runServices(
      [
        ...[voting, link, identity, ...kept, watcher, progressLog, ...market.services],
        ...[cuts?.service, snapshots.service].filter((service) => service !== undefined),
      ],
      services.signal,
    )
  } finally {
    signal.removeEventListener('abort', onStop)
    handOvers.close()
    await keepLastWrites(role, replication, snapshots.service)
    for (const server of servers) server.close()
    await role.close()
    await voter.close()
    await replication.close()
    snapshots.close()
  }
}
