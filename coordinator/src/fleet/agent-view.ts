import { type MicroUsd, toUsd } from '@understudy/shared/core/money'
import { between, formatMillis, type Instant, type Mono } from '@understudy/shared/core/time'
import {
  type Group,
  type GroupMember,
  readyTargets,
  runsAlone,
  silenceOf,
} from '@understudy/shared/failover/group'
import type { AgentState, AgentView, ReplicaView } from '@understudy/shared/protocol/agents'
import type { Heartbeat } from '@understudy/shared/protocol/link'
import type { AgentRow, InstanceRow, ReplicaRow } from '../storage/database.ts'
import { settingsOf } from './fleet-store.ts'

/** Everything that one agent's picture is made from. */
export interface AgentFacts {
  readonly row: AgentRow
  readonly instance: InstanceRow | undefined
  readonly replicas: readonly ReplicaView[]
  readonly group: Group | undefined
  /** The primary's last heartbeat. */
  readonly heartbeat: { readonly message: Heartbeat } | undefined
  /** When the primary last said anything; undefined if not since the coordinator started. */
  readonly heardAt: Instant | undefined
  readonly spotPrice: MicroUsd | null
  readonly onDemandPrice: MicroUsd | null
  /** A rebalance recommendation for the primary's instance. */
  readonly atRisk: boolean
  readonly stateSince: Instant
  readonly now: { readonly wall: Instant; readonly mono: Mono }
  readonly offlineAfter: number
}

const time = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString())
const usd = (price: MicroUsd | null): number | null => (price === null ? null : toUsd(price))

/** One agent as the API and the dashboard show it. Pure. */
export function toAgentView(facts: AgentFacts): AgentView {
  const { row, instance, group, heartbeat, replicas, now } = facts
  const { state, reason } = stateOf(facts)
  const target = group ? readyTargets(group, now.mono)[0] : undefined
  const lag = heartbeat?.message.replicas.find(({ instanceId }) => instanceId === target?.instance)
  const heardAt = facts.heardAt ?? row.last_heartbeat_at
  return {
    id: row.id,
    name: row.name,
    client_id: row.client_id,
    status: heardAt !== null && now.wall - heardAt <= facts.offlineAfter ? 'online' : 'offline',
    state,
    reason,
    state_since: new Date(facts.stateSince).toISOString(),
    // The row is written a moment later.
    instance_id: group?.certificate ? (group.primary ?? null) : row.instance_id,
    instance: instance
      ? {
          id: instance.id,
          instance_type: instance.instance_type,
          availability_zone: instance.availability_zone,
          pool_id: instance.pool_id,
          life_cycle: instance.life_cycle,
          launched_at: time(instance.launched_at),
        }
      : null,
    pool_id: instance?.pool_id ?? null,
    spot_price: usd(facts.spotPrice),
    on_demand_price: usd(facts.onDemandPrice),
    epoch: group?.certificate ? group.epoch : row.epoch,
    term: group?.certificate?.proposal.term ?? row.term,
    successor_id: group?.certificate ? group.certificate.proposal.successor : row.successor_id,
    phase: group?.phase.kind ?? 'vacant',
    workload: heartbeat?.message.workload ?? 'unknown',
    lease: leaseOf(facts),
    replica_count: replicas.length,
    replicas: [...replicas],
    lag_ms: lag ? Math.round(lag.lagMillis) : null,
    lag_bytes: lag?.lagBytes ?? null,
    degraded: heartbeat?.message.degraded ?? [],
    last_heartbeat_at: time(heardAt),
    last_failover_at: time(row.last_failover_at),
    settings: settingsOf(row),
  }
}

/** The kind of lease that the primary says it has, and what this coordinator has promised to it. */
function leaseOf({ group, heartbeat, now }: AgentFacts): AgentView['lease'] {
  const { primary, promise } = group ?? {}
  if (!group || primary === undefined) return { mode: 'none', remaining_ms: null }
  const kind = heartbeat?.message.lease.kind ?? (runsAlone(group) ? 'solo' : 'until')
  if (kind !== 'until') return { mode: kind, remaining_ms: null }
  const left = promise?.to === primary ? between(now.mono, promise.until) : 0
  return { mode: 'leased', remaining_ms: Math.max(0, Math.round(left)) }
}

/** The state of dashboard.md §3.2 and why, the most urgent first. */
function stateOf(facts: AgentFacts): { state: AgentState; reason: string } {
  const { group, now } = facts
  if (!group || group.primary === undefined) return { state: 'waiting', reason: 'no instance has joined yet' }
  const { phase, primary } = group
  const member = group.members.get(primary)
  switch (phase.kind) {
    case 'failed':
      return { state: 'failed', reason: `the workload does not start: ${phase.why}` }
    case 'relaunching':
      return {
        state: 'failed',
        reason: `${primary} has ended; waiting for a copy of the state or a new instance`,
      }
    case 'handing-over':
      return { state: 'draining', reason: `${primary} hands over to ${phase.target}` }
    case 'asking':
    case 'voting':
    case 'electing':
      return changingState(facts, phase, member)
    case 'promoting':
    case 'routing':
      return { state: 'moving', reason: `epoch ${group.epoch} is taking over` }
    case 'vacant':
      return { state: 'waiting', reason: 'no instance has joined yet' }
    case 'steady':
      return steadyState(facts, member, silenceOf(group, now.mono))
  }
}

/** A change of successor moves nothing; a change of primary waits for its votes. */
function changingState(
  facts: AgentFacts,
  phase: Group['phase'] & { kind: 'asking' | 'voting' | 'electing' },
  member: GroupMember | undefined,
): { state: AgentState; reason: string } {
  const { then, proposal } = phase.change
  const silence = facts.group ? silenceOf(facts.group, facts.now.mono) : 0
  if (then.kind === 'steady') return steadyState(facts, member, silence)
  if (then.kind === 'hand-over')
    return {
      state: 'draining',
      reason: `${then.incident.instance} makes ${then.target} its successor, then hands over`,
    }
  const waitsFor = {
    asking: 'another voter',
    voting: 'the coordinator, which may have promised it to somebody else for up to a lease',
    electing: `${proposal.primary} itself`,
  }[phase.kind]
  return {
    state: 'moving',
    reason: `epoch ${proposal.epoch} for ${proposal.primary} waits for the vote of ${waitsFor}`,
  }
}

function steadyState(
  { group, atRisk, heartbeat, now, offlineAfter }: AgentFacts,
  member: GroupMember | undefined,
  silence: number,
): { state: AgentState; reason: string } {
  const silent = group !== undefined && silence > Math.min(group.policy.lease * 2, offlineAfter)
  if (member?.noticedBy !== undefined)
    return { state: 'draining', reason: noticeReason(between(now.mono, member.noticedBy), silent) }
  if (silent)
    return { state: 'offline', reason: `nothing was heard from the primary for ${formatMillis(silence)}` }
  const workload = heartbeat?.message.workload
  if (workload === 'frozen' || workload === 'stopped')
    return { state: 'failed', reason: `the workload is ${workload}` }
  if (atRisk)
    return { state: 'at-risk', reason: 'AWS recommends to rebalance: an interruption is likelier than usual' }
  const [problem] = heartbeat?.message.degraded ?? []
  return { state: 'healthy', reason: problem ? `degraded: ${problem.message}` : 'the workload runs' }
}

function noticeReason(left: number, silent: boolean): string {
  if (left > 0) return `AWS takes the instance back in ${formatMillis(left)}; no replica is ready yet`
  const over = `the time of AWS's notice passed ${formatMillis(-left)} ago`
  return silent
    ? `${over} and nothing is heard from the instance: it is replaced once it is known to have ended`
    : `${over} and the instance still answers; no replica is ready yet`
}

/** What is known of one replica at this moment beyond its row. */
export interface ReplicaLive {
  readonly member: GroupMember | undefined
  /** The replica's own last heartbeat. */
  readonly progress: Heartbeat['progress'] | undefined
  readonly bytesPerSecond: number | null
  /** What is wrong with it, from the same heartbeat. */
  readonly degraded: Heartbeat['degraded']
  /** In the primary's words. */
  readonly lag: Heartbeat['replicas'][number] | undefined
}

export function toReplicaView(row: ReplicaRow, live: ReplicaLive): ReplicaView {
  const { member, progress, lag } = live
  const [instanceType = '', availabilityZone = ''] = row.pool_id.split('@')
  const done = progress?.bytesDone ?? row.bytes_done
  const total = progress?.bytesTotal ?? row.bytes_total
  const shownDone = row.status === 'ready' ? total : done
  return {
    id: row.id,
    agent_id: row.agent_id,
    instance_id: row.instance_id,
    type: row.type as ReplicaView['type'],
    status: row.status as ReplicaView['status'],
    is_active: row.is_active === 1,
    pool_id: row.pool_id,
    availability_zone: availabilityZone,
    instance_type: instanceType,
    spot_price: row.spot_price === null ? null : row.spot_price / 1e6,
    created_by: row.created_by,
    created_at: new Date(row.created_at).toISOString(),
    ready_at: time(row.ready_at),
    promoted_at: time(row.promoted_at),
    terminated_at: time(row.terminated_at),
    sync_percent: percentOf(row, shownDone, total),
    bytes_done: shownDone,
    bytes_total: total,
    bytes_per_second: row.status === 'syncing' ? live.bytesPerSecond : null,
    lag_bytes: lag?.lagBytes ?? null,
    lag_ms: lag ? Math.round(lag.lagMillis) : row.lag_ms,
    notice: member?.noticedBy !== undefined,
    life_cycle: row.life_cycle,
    reason: row.reason,
    failure: row.failure ?? troubleOf(row, live.degraded),
  }
}

/** Why a standby does not get ready, in its own words. */
function troubleOf({ is_active, status }: ReplicaRow, degraded: Heartbeat['degraded']): string | null {
  const [first] = is_active === 1 && status !== 'ready' ? degraded : []
  return first ? [first.message, first.hint].filter(Boolean).join('. ') : null
}

function percentOf(row: ReplicaRow, done: number, total: number): number {
  if (row.status === 'ready' || row.status === 'promoted') return 100
  if (total === 0) return row.sync_percent
  return Math.min(99, Math.floor((done / total) * 100))
}
