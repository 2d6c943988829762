import type { AgentId, InstanceId } from '../core/ids.ts'
import { type Mono, millis, plus } from '../core/time.ts'
import { patchMember } from './group-orders.ts'
import type { Group, GroupMember, OpenMove, Phase } from './group-types.ts'
import { type LeasePolicy, silenceAfterRestart } from './lease.ts'

/** How long a hand-over that was under way before a restart may take after it. */
const HAND_OVER_AGAIN = millis(10_000)

/** The state that a coordinator starts from: what its database says, and silence until old promises have run out. */
export function restoreGroup(
  stored: {
    agent: AgentId
    epoch: number
    primary: InstanceId | undefined
    members: readonly { instance: InstanceId; retired: boolean; hadCopy: boolean }[]
    policy: LeasePolicy
    move?: OpenMove | undefined
  },
  now: Mono,
): Group {
  const { agent, epoch, primary, policy, move } = stored
  const silentUntil = plus(now, silenceAfterRestart(policy))
  const group: Group = {
    agent,
    epoch,
    primary,
    phase: primary === undefined ? { kind: 'vacant' } : phaseOf(move, primary, silentUntil),
    members: new Map(
      stored.members.map(({ instance, retired, hadCopy }) => [
        instance,
        { ...unheard(instance, now), retired, hadCopy },
      ]),
    ),
    promiseUntil: silentUntil,
    silentUntil,
    soloSince: primary === undefined ? undefined : -1,
    waiting: move?.at.kind === 'waiting' ? move.incident : undefined,
    policy,
  }
  return move?.incident.trigger === 'notice'
    ? patchMember(group, move.incident.instance, { noticedBy: move.incident.by })
    : group
}

function phaseOf(move: OpenMove | undefined, primary: InstanceId, silentUntil: Mono): Phase {
  switch (move?.at.kind) {
    case 'handing-over':
      return { ...move.at, incident: move.incident, giveUpAt: plus(silentUntil, HAND_OVER_AGAIN) }
    case 'promoting':
      return { ...move.at, target: primary, incident: move.incident, attempt: 0 }
    case 'waiting':
    case undefined:
      return { kind: 'steady' }
  }
}

/** Of whom nothing is known yet. */
export const unheard = (instance: InstanceId, now: Mono): GroupMember => ({
  instance,
  connected: false,
  heardAt: now,
  beat: undefined,
  sync: 'unknown',
  hadCopy: false,
  attached: false,
  lagBytes: 0,
  noticedBy: undefined,
  gone: false,
  released: false,
  retired: false,
})
