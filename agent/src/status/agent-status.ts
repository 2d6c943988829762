import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { between, type Clock } from '@understudy/shared/core/time'
import type { Member } from '@understudy/shared/failover/member-types'
import type { Heartbeat, Report } from '@understudy/shared/protocol/link'
import type { Replication } from '../replication/replication.ts'
import type { Voter } from '../voter/voter.ts'
import { leaseView } from './lease-view.ts'
import type { AgentStatus } from './status-socket.ts'

/** How far this instance and its replicas are, for the status socket and for the coordinator. */

export function roleStatus(
  { agent, self }: { readonly agent: AgentId; readonly self: InstanceId },
  member: Member,
  voter: Voter,
  clock: Clock,
): Pick<
  AgentStatus,
  | 'agent_id'
  | 'instance_id'
  | 'role'
  | 'epoch'
  | 'term'
  | 'workload'
  | 'lease'
  | 'leases'
  | 'successor'
  | 'voter'
> {
  const { state, leases, port } = voter
  const now = clock.mono()
  return {
    agent_id: agent,
    instance_id: self,
    role: member.role.kind,
    epoch: member.epoch,
    term: member.term,
    workload: member.workload,
    lease: leaseView(member.lease, clock),
    leases: leases.map(({ voter: id, end }) => ({
      voter: id,
      ms_left: Math.max(0, Math.round(between(now, end))),
    })),
    successor: state.certificate?.proposal.successor ?? null,
    voter: {
      state: state.standing,
      port,
      epoch: state.certificate?.proposal.epoch ?? 0,
      voted: state.voted,
      resigned: state.resigned,
      coordinator: state.coordinator,
      peers: [...state.peers],
    },
  }
}

export function streamStatus(
  replication: Replication,
): Pick<AgentStatus, 'replication_port' | 'whole_copy' | 'sync' | 'replicas'> {
  const { progress } = replication
  return {
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
  }
}

/** The part of a heartbeat that is about the state stream. */
export const streamHeartbeat = (
  replication: Replication,
  member: Member,
): Pick<Heartbeat, 'replicas' | 'progress'> => ({
  replicas: replication.lags().map(({ instance, lag }) => ({
    instanceId: instance,
    attached: lag.attached,
    lagBytes: lag.bytes,
    lagBatches: lag.batches,
    lagMillis: lag.millis,
    safeMillis: lag.safeMillis,
  })),
  progress: member.role.kind === 'replica' ? replication.progress : null,
})

/** What this instance holds, and why it does not get on. */
export function copyReport(
  { whole, trouble }: Replication,
  { role, epoch }: Member,
  isRestoring: boolean,
): Report & { kind: 'sync' } {
  const without = role.kind === 'replica' ? 'syncing' : 'none'
  return {
    kind: 'sync',
    epoch,
    sync: isRestoring ? 'none' : whole ? 'ready' : without,
    ...(trouble ? { why: trouble.message.slice(0, 500) } : {}),
  }
}
