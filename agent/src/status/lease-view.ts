import type { Clock } from '@understudy/shared/core/time'
import type { Lease } from '@understudy/shared/failover/member-types'
import type { AgentStatus } from './status-socket.ts'

/** How long the lease lasts, on the clock of this machine. */
export function leaseView(lease: Lease, clock: Clock): AgentStatus['lease'] {
  if (lease.kind === 'until')
    return { mode: 'leased', remaining_ms: Math.max(0, Math.round(lease.at - clock.mono())) }
  return { mode: lease.kind, remaining_ms: null }
}
