import type { AppError } from '@understudy/shared/core/app-error'
import type { ReplicaView } from '@understudy/shared/protocol/agents'
import type { Moves } from './agent-actuator.ts'

/** Failover as the actuator sees it: replicas that are what a test says, and a record of what was asked. */
export interface FakeMoves extends Moves {
  readonly calls: readonly string[]
  /** The next calls are refused so, in this order. */
  readonly refusals: AppError[]
  /** How the replica that is made, or was made, stands. */
  replica(status: ReplicaView['status']): void
  has(id: string, more: Partial<ReplicaView>): void
  reset(): void
}

export function createFakeMoves(): FakeMoves {
  const calls: string[] = []
  const refusals: AppError[] = []
  const replicas = new Map<string, ReplicaView>()
  let status: ReplicaView['status'] = 'syncing'

  const put = (id: string, more: Partial<ReplicaView>) =>
    replicas.set(id, {
      ...{ id, agent_id: 'shop', instance_id: 'i-0new', type: 'manual', status, is_active: true },
      ...{ pool_id: 'm5.large@ap-south-1b', availability_zone: 'ap-south-1b', instance_type: 'm5.large' },
      ...{ spot_price: 0.03, created_by: '', created_at: '', ready_at: null, promoted_at: null },
      ...{ terminated_at: null, sync_percent: 50, bytes_done: 0, bytes_total: 0, bytes_per_second: null },
      ...{ lag_bytes: null, lag_ms: null, notice: false, failure: null, life_cycle: 'spot', reason: null },
      ...more,
    })
  const change = (id: string, more: Partial<ReplicaView>) => {
    const known = replicas.get(id)
    if (known) replicas.set(id, { ...known, ...more })
  }
  const refuse = () => {
    const refusal = refusals.shift()
    if (refusal) throw refusal
  }

  return {
    calls,
    refusals,
    replica(next) {
      status = next
      for (const id of replicas.keys()) change(id, { status })
    },
    has: put,
    reset() {
      calls.length = 0
      replicas.clear()
    },
    replicas: () => Promise.resolve([...replicas.values()]),
    createReplica(_agent, body) {
      calls.push(`create ${body.pool_id} by ${body.created_by}`)
      if (refusals[0]?.code === 'no_capacity') refuse()
      put('r1', { pool_id: body.pool_id ?? '', created_by: body.created_by ?? '' })
      return Promise.resolve({ replica_id: 'r1' } as Awaited<ReturnType<Moves['createReplica']>>)
    },
    deleteReplica(_agent, id) {
      calls.push(`delete ${id}`)
      change(id, { status: 'terminated', is_active: false })
      return Promise.resolve(replicas.get(id) as ReplicaView)
    },
    promote(_agent, id, { expected_epoch: epoch, demote_old_primary: stays }) {
      calls.push(`promote ${id} at epoch ${epoch}, the old one ${stays ? 'stays' : 'ends'}`)
      refuse()
      change(id, { status: 'promoted', is_active: false })
      return Promise.resolve({} as Awaited<ReturnType<Moves['promote']>>)
    },
  }
}
