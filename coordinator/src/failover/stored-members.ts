import type { InstanceId } from '@understudy/shared/core/ids'
import { instanceId as asInstanceId } from '@understudy/shared/core/ids'
import { between, type Clock, instant, type Mono, plus } from '@understudy/shared/core/time'
import { type Certificate, votersOf } from '@understudy/shared/failover/certificate'
import type { InstanceRow } from '../storage/database.ts'

/** An instance as the group knows it after a restart. */
export interface StoredMember {
  readonly instance: InstanceId
  readonly retired: boolean
  readonly hadCopy: boolean
  readonly gone: boolean
  /** Until when it runs, by its notice. That of a primary is in the incident that it began. */
  readonly noticedBy: Mono | undefined
}

/** Who has ended is still one while it has a vote: that it is gone is what lets somebody else be elected. */
export function membersOf(
  agent: string,
  instances: readonly InstanceRow[],
  certificate: Certificate | undefined,
  clock: Pick<Clock, 'now' | 'mono'>,
): readonly StoredMember[] {
  const voters: readonly string[] = certificate ? votersOf(certificate.proposal) : []
  return instances
    .filter(
      ({ id, agent_id, terminated_at }) =>
        agent_id === agent && (terminated_at === null || voters.includes(id)),
    )
    .map(({ id, retired, has_copy, terminated_at, notice_at }) => ({
      instance: asInstanceId(id),
      retired: retired === 1,
      hadCopy: has_copy === 1,
      gone: terminated_at !== null,
      noticedBy:
        notice_at === null || id === certificate?.proposal.primary
          ? undefined
          : plus(clock.mono(), between(clock.now(), instant(notice_at))),
    }))
}
