import { owns } from '@understudy/shared/failover/member'
import type { Lease, Member, MemberEvent } from '@understudy/shared/failover/member-types'
import type { ElectionExtras } from '@understudy/shared/failover/voter-types'
import type { RoleEffect } from '../voter/voter.ts'

/** What the winner is told beside the vote with which this instance gives its epoch up. Pure. */
export function extrasOf({ role, incident }: Member): ElectionExtras {
  const extras = { incident: incident ?? null, fresh: false }
  if (role.kind !== 'handing-over') return extras
  return { ...extras, planned: !role.urgent, left: role.sealed?.left ?? { bytes: 0, names: 0 } }
}

/** What a decision of this instance's voter means for its role; undefined when it means nothing. Pure. */
export function toMemberEvent(effect: RoleEffect, member: Member, lease: Lease): MemberEvent | undefined {
  switch (effect.kind) {
    case 'elected': {
      const { epoch, term } = effect.certificate.proposal
      const { fresh, incident } = effect.extras
      return { kind: 'elected', epoch, term, fresh, incident: incident ?? undefined, lease }
    }
    case 'advanced':
      return { kind: 'advanced', epoch: effect.certificate.proposal.epoch }
    case 'deposed':
      // Who has given the epoch away itself, or is a replica by now, has nothing to stop.
      return owns(member)
        ? { kind: 'order', order: { kind: 'fence', epoch: effect.certificate.proposal.epoch } }
        : undefined
    case 'released':
      return { kind: 'released', turn: effect.turn, ok: effect.ok, why: effect.why }
    case 'certified':
      return undefined
  }
}
