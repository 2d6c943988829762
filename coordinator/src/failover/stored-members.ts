import type { InstanceId } from '@understudy/shared/core/ids'
import { instanceId as asInstanceId } from '@understudy/shared/core/ids'
import { type Certificate, votersOf } from '@understudy/shared/failover/certificate'
import type { InstanceRow } from '../storage/database.ts'

/** An instance as the group knows it after a restart. */
export interface StoredMember {
  readonly instance: InstanceId
  readonly retired: boolean
  readonly hadCopy: boolean
  readonly gone: boolean
}

/** Who has ended is still one while it has a vote: that it is gone is what lets somebody else be elected. */
export function membersOf(
  agent: string,
  instances: readonly InstanceRow[],
  certificate: Certificate | undefined,
): readonly StoredMember[] {
  const voters: readonly string[] = certificate ? votersOf(certificate.proposal) : []
  return instances
    .filter(
      ({ id, agent_id, terminated_at }) =>
        agent_id === agent && (terminated_at === null || voters.includes(id)),
    )
    .map(({ id, retired, has_copy, terminated_at }) => ({
      instance: asInstanceId(id),
      retired: retired === 1,
      hadCopy: has_copy === 1,
      gone: terminated_at !== null,
    }))
}
