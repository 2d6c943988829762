import { randomUUID } from 'node:crypto'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import { runServices, type Service } from '@understudy/shared/core/service'
import { between, type Clock, everyPeriod, seconds } from '@understudy/shared/core/time'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import type { CoordinatorMessage, Heartbeat, Report, Upstream } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import { commitRoutes, createCommit, serveCommit } from './commit/commit.ts'
import type { DataDirectory } from './config/data-directory.ts'
import type { AgentConfig } from './config/options.ts'
import { openIdentity } from './identity/identity.ts'
import { createImdsClient } from './imds/imds-client.ts'
import { createNoticeWatcher, type NoticeListener } from './imds/notice-watcher.ts'
import { advertised, linkUrl } from './link/addresses.ts'
import { type Enrolment, enrolUntilDone, readEnrolment, saveEnrolment } from './link/enrolment.ts'
import { createLink, type LinkPeer } from './link/link.ts'
import { openRecord, recordStatus, withRecord } from './record/record.ts'
import { checkStateDirectories, openReplication } from './replication/replication.ts'
import { createCuts } from './role/cuts.ts'
import { createHooks } from './role/hooks.ts'
import { createRole } from './role/role.ts'
import { openRoleStore } from './role/role-store.ts'
import { openSnapshots, situationOf, snapshotRoutes, startOnWhole } from './snapshot/snapshot.ts'
import { degradationsOf } from './status/degradations.ts'
import { leaseView } from './status/lease-view.ts'
import { type AgentStatus, serveStatus } from './status/status-socket.ts'
import { AGENT_VERSION } from './version.ts'

const MIB = 1024 * 1024
/** How long an agent that ends waits until its replicas have the last writes of the workload. */
const FLUSH_BUDGET = seconds(2)
/** The same for its last snapshot, where no replica follows; less than a service manager waits. */
const LAST_SNAPSHOT_BUDGET = seconds(12)

export interface AgentSurroundings {
  readonly config: AgentConfig
  readonly data: DataDirectory
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
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
  const enrolment = await ensureEnrolled()
  const self = instanceId(enrolment.instanceId)
  const agent = agentId(enrolment.agentId)
  const store = openRoleStore(data.role)
  const boot = randomUUID()
  let upstream: Upstream | undefined
  let openNotice: string | undefined

  async function ensureEnrolled(): Promise<Enrolment> {
    const known = readEnrolment(data.enrolment)
    if (known) return known
    const request = {
      coordinatorUrl: config.coordinator_url,
      joinToken: config.join_token,
      stateDirectories: config.workload.state.length,
      settings: {
        auto_replica_enabled: config.auto_replica_enabled,
        manual_replica_enabled: config.manual_replica_enabled,
        rebalance_threshold: config.rebalance_threshold,
      },
      agentVersion: AGENT_VERSION,
      imds,
    }
    const enrolled = await enrolUntilDone(request, clock, random, log, signal)
    await saveEnrolment(data.enrolment, enrolled)
    log.info({ event: 'enrolled', agent: enrolled.agentId, instance: enrolled.instanceId })
    return enrolled
  }

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
  const { cut_every_seconds: cutEvery } = config.workload
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
      cutsOnly: cutEvery !== undefined,
    },
    clock,
    random,
    log,
    onCopy: () => reportCopy(),
  })
  // The same after a restart of the daemon, and never that of another one on this machine.
  const workloadKey = `${agent}/${self}:${config.data_dir}`
  const ownHooks = createHooks(config.workload, workloadKey, clock, log)
  const cuts =
    cutEvery === undefined
      ? undefined
      : createCuts({
          every: seconds(cutEvery),
          hooks: ownHooks,
          hasHooks: config.workload.hooks.freeze !== undefined,
          key: workloadKey,
          clock,
          log,
          cut: (hold) => record.still(() => replication.cut(hold)),
          wanted: () => {
            const { role: now, workload, epoch } = role.member
            const needed = now.kind === 'primary' && workload === 'running' && replication.lags().length > 0
            return needed ? { agent, instance: self, epoch } : undefined
          },
        })
  const hooks = startOnWhole(cuts?.hooks ?? ownHooks, snapshots.recovery)
  const role = createRole({
    agent,
    instance: self,
    policy: defaultLeasePolicy,
    clock,
    hooks,
    replication: withRecord(replication, record),
    recovery: snapshots.recovery,
    store,
    log,
    report: (report) => send(report),
    followUpstream: (epoch, primary) => {
      if (upstream?.instanceId === primary) replication.follow(epoch, upstream)
      reportCopy()
    },
    onChange: () => {
      record.onRole(role.member)
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
      replication: advertised(config, enrolment, replication.port),
    }),
    heartbeat,
    onMessage,
    onConnected: () => {
      identity.connected()
      reportCopy()
    },
  }
  const link = createLink({
    url: linkUrl(config.coordinator_url, agent),
    credential: enrolment.credential,
    peer,
    clock,
    random,
    log,
  })

  /** A role change is followed by the word on what this instance holds now. */
  function send(report: Report): void {
    link.report(report)
    if (report.kind === 'fenced' || report.kind === 'promotion-failed') reportCopy()
  }

  function reportCopy(): void {
    const { member } = role
    const receiving = member.role.kind === 'replica'
    const { trouble } = replication
    link.report({
      kind: 'sync',
      epoch: member.epoch,
      sync: snapshots.recovery.unfinished
        ? 'none'
        : replication.whole
          ? 'ready'
          : receiving
            ? 'syncing'
            : 'none',
      ...(trouble ? { why: trouble.message.slice(0, 500) } : {}),
    })
  }

  function heartbeat(): Omit<Heartbeat, 'type' | 'seq' | 'sentAt'> {
    const { member } = role
    return {
      role: member.role.kind,
      epoch: member.epoch,
      workload: member.workload,
      lease:
        member.lease.kind === 'none'
          ? { kind: 'none', seq: 0 }
          : { kind: member.lease.kind, seq: member.lease.seq },
      replicas: replication.lags().map(({ instance, lag }) => ({
        instanceId: instance,
        attached: lag.attached,
        lagBytes: lag.bytes,
        lagBatches: lag.batches,
        lagMillis: lag.millis,
        safeMillis: lag.safeMillis,
      })),
      progress: member.role.kind === 'replica' ? replication.progress : null,
      roundTripMillis: link.roundTrip,
      degraded: degraded().slice(0, 32),
    }
  }

  function onMessage(message: CoordinatorMessage): void {
    switch (message.type) {
      case 'welcome':
        return role.setPolicy(message.policy)
      case 'lease':
        return role.dispatch({ kind: 'lease', grant: message.grant })
      case 'replicas':
        return replication.allow(message.epoch, message.replicas)
      case 'order':
        if (message.upstream) upstream = message.upstream
        return role.dispatch({ kind: 'order', order: message.order })
      case 'credential':
        link.useCredential(message.credential)
        void saveEnrolment(data.enrolment, { ...enrolment, credential: message.credential })
        return
      case 'certificate':
        return identity.accept(message)
      case 'certificate-refused':
        return identity.refused(message)
      case 'report-ack':
      case 'refused':
        return
    }
  }

  const listener: NoticeListener = {
    onInterruption(notice, change) {
      openNotice = notice.id
      log.warn({ event: `notice.${change}`, notice: notice.id, action: notice.action, time: notice.time })
      link.report({
        kind: 'notice',
        signal: 'termination-notice',
        noticeId: notice.id,
        action: notice.action,
        time: notice.time,
        ageMillis: between(notice.firstSeen, clock.mono()),
      })
    },
    onWithdrawn(notice) {
      openNotice = undefined
      log.warn({ event: 'notice.withdrawn', notice: notice.id })
      link.report({ kind: 'notice-withdrawn', noticeId: notice.id })
    },
    onRebalance(noticeTime, firstSeen) {
      log.warn({ event: 'notice.rebalance', time: noticeTime })
      link.report({
        kind: 'notice',
        signal: 'rebalance-recommendation',
        noticeId: `rebalance-${noticeTime}`,
        action: null,
        time: noticeTime,
        ageMillis: between(firstSeen, clock.mono()),
      })
    },
    onMaintenance: (event) => link.report({ kind: 'maintenance', ...event }),
    onTargetLifecycle: (state) => link.report({ kind: 'target-lifecycle', state }),
    remember: (memory) => void store.save(memory),
  }
  const watcher = createNoticeWatcher({
    imds,
    clock,
    interval: seconds(config.interruption_check_interval),
    memory: store.memory,
    listener,
    log,
  })

  const degraded = () => degradationsOf(link, [watcher, identity, snapshots.service, cuts], replication)

  function status(): AgentStatus {
    const { member } = role
    const { progress } = replication
    return {
      schema: 'understudy.agent-status/v1',
      version: AGENT_VERSION,
      agent_id: agent,
      instance_id: self,
      coordinator_url: config.coordinator_url,
      connected: link.connected,
      role: member.role.kind,
      epoch: member.epoch,
      workload: member.workload,
      lease: leaseView(member.lease, clock),
      replication_port: replication.port,
      whole_copy: replication.whole,
      sync: progress
        ? { bytes_done: progress.bytesDone, bytes_total: progress.bytesTotal, seq: progress.seq }
        : null,
      replicas: replication.lags().map(({ instance, lag }) => ({
        instance_id: instance,
        attached: lag.attached,
        lag_bytes: lag.bytes,
        lag_ms: lag.millis,
        verified: lag.verified,
      })),
      cuts: cuts?.status ?? null,
      snapshots: snapshots.service?.status ?? null,
      open_notice: openNotice ?? null,
      record: recordStatus(record),
      degraded: degraded(),
    }
  }

  const commit = createCommit({
    replication,
    isPrimary: () => role.member.role.kind === 'primary' || role.member.role.kind === 'handing-over',
    clock,
  })
  const servers = await Promise.all([
    serveStatus(
      data.statusSocket,
      status,
      { ...commitRoutes(commit), ...snapshotRoutes(snapshots.service) },
      log,
    ),
    ...(config.commit_socket === undefined ? [] : [serveCommit(config.commit_socket, commit, log)]),
  ]).catch(async (error: unknown) => {
    await replication.close()
    throw error
  })
  const progressLog: Service = {
    name: 'progress-log',
    run: (until) =>
      everyPeriod(clock, seconds(config.sync_update_interval), until, () => {
        const { progress } = replication
        if (role.member.role.kind === 'replica' && progress)
          log.info({ event: 'replication.progress', whole: replication.whole, ...progress })
      }),
  }
  try {
    await role.boot()
    log.info({
      event: 'agent.ready',
      agent,
      instance: self,
      role: role.member.role.kind,
      epoch: role.member.epoch,
    })
    await runServices(
      [link, identity, watcher, progressLog, cuts?.service, snapshots.service].filter(
        (service) => service !== undefined,
      ),
      signal,
    )
  } finally {
    const last = { primary: role.member.role.kind === 'primary', epoch: role.member.epoch }
    await role.end()
    const attached = replication.lags().some(({ lag }) => lag.attached)
    await replication.flush(FLUSH_BUDGET)
    if (last.primary && !attached) await snapshots.service?.takeLast(last.epoch, LAST_SNAPSHOT_BUDGET)
    for (const server of servers) server.close()
    await role.close()
    await replication.close()
    snapshots.close()
  }
}
