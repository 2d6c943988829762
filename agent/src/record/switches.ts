import type { InstanceId } from '@understudy/shared/core/ids'
import type { Instant } from '@understudy/shared/core/time'
import type { Member } from '@understudy/shared/failover/member-types'
import type { Switch } from './record-lines.ts'

/** What a change of role means for the history of this agent; undefined when it means nothing. Pure. */
export function switchOf(
  before: Member | undefined,
  after: Member,
  instance: InstanceId,
  at: Instant,
): Switch | undefined {
  const [from, to] = [before?.role, after.role]
  if (from?.kind === to.kind) return undefined
  const incident = before?.incident ?? after.incident
  const facts = {
    epoch: after.term,
    at: new Date(at).toISOString(),
    instance,
    ...(incident === undefined ? {} : { incident }),
  }
  if (to.kind === 'handing-over')
    return { kind: 'hand-over', ...facts, to: to.target, ...(to.urgent ? { urgent: true } : {}) }
  if (to.kind !== 'primary') return undefined
  if (from?.kind === 'handing-over') return { kind: 'called-off', ...facts, to: from.target }
  return { kind: 'primary', ...facts, ...(from?.kind === 'promoting' && from.fresh ? { fresh: true } : {}) }
}

/** Only the owner of the epoch writes; what others have comes from it. */
export const mayWrite = (member: Member | undefined): boolean =>
  member?.role.kind === 'primary' || member?.role.kind === 'handing-over'
