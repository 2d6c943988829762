import { type Mono, mono } from '../../core/time.ts'
import { kindOfChange } from '../../failover/certificate.ts'
import type { Group, GroupEvent } from '../../failover/group.ts'
import type { Sabotage } from './options.ts'

/** Deliberate bugs of the coordinator. */

/** What it takes for its state. */
export function sabotageGroup(
  sabotage: Sabotage | undefined,
  group: Group,
  event: GroupEvent,
  now: Mono,
): Group {
  if (sabotage === 'ignore-promise' && event.kind === 'tick') return forgetPromises(group, now)
  if (sabotage === 'ack-while-voting' && event.kind === 'beat') return { ...group, casting: undefined }
  return group
}

/** Two heartbeats that did not come are enough for it. */
function forgetPromises(group: Group, now: Mono): Group {
  const { heartbeat, lease } = group.policy
  const members = new Map(
    [...group.members].map(([id, member]) => {
      const isLost = id === group.primary && now - member.heardAt > 2 * heartbeat
      return [id, { ...member, hears: false, heardAt: isLost ? mono(now - 2 * lease) : member.heardAt }]
    }),
  )
  return { ...group, promise: undefined, silentUntil: mono(0), members }
}

/** What it believes to have heard beside. */
export function sabotageMore(
  sabotage: Sabotage | undefined,
  before: Group,
  { phase, certificate }: Group,
  event: GroupEvent,
): readonly GroupEvent[] {
  // Who cannot be reached is taken to have ended.
  if (sabotage === 'silence-is-death' && event.kind === 'disconnected')
    return [{ kind: 'gone', instance: event.instance }]
  // It does not wait for the vote of the primary.
  if (sabotage === 'succession-without-primary' && phase.kind === 'asking' && phase !== before.phase) {
    const { proposal } = phase.change
    if (kindOfChange(proposal, certificate) !== 'succession') return []
    const vote = { voter: phase.of, signature: 'forged', echo: null }
    return [{ kind: 'voter', instance: phase.of, message: { kind: 'vote', proposal, vote } }]
  }
  return []
}
