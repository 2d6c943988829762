import type { AgentId, InstanceId } from '../core/ids.ts'
import { type Mono, millis, plus } from '../core/time.ts'
import type { Certificate } from './certificate.ts'
import { patchMember } from './group-orders.ts'
import type { Group, GroupMember, OpenMove, Phase } from './group-types.ts'
import { type LeasePolicy, silenceAfterRestart } from './lease.ts'

/** How long a hand-over that was under way before a restart may take after it. */
const HAND_OVER_AGAIN = millis(10_000)

/** The state that a coordinator starts from: what its database says, and silence until old promises have run out. */
export function restoreGroup(
  stored: {
    agent: AgentId
    certificate: Certificate | undefined
    /** The certificate before it: who has missed that one cannot check what follows. */
    base?: Certificate | undefined
    voted: { readonly epoch: number; readonly primary: InstanceId | undefined }
    /** Our own public key. */
    key: string
    members: readonly {
      instance: InstanceId
      retired: boolean
      hadCopy: boolean
      gone?: boolean
      noticedBy?: Mono | undefined
    }[]
    policy: LeasePolicy
    move?: OpenMove | undefined
  },
  now: Mono,
): Group {
  const { agent, certificate, base, voted, key, policy, move } = stored
  const primary = certificate?.proposal.primary
  const silentUntil = plus(now, silenceAfterRestart(policy))
  const group: Group = {
    agent,
    certificate,
    epoch: certificate?.proposal.epoch ?? 0,
    primary,
    voted,
    casting: undefined,
    key,
    phase: certificate === undefined ? { kind: 'vacant' } : phaseOf(move, certificate, base, silentUntil),
    members: new Map(
      stored.members.map(({ instance, retired, hadCopy, gone = false, noticedBy }) => [
        instance,
        { ...unheard(instance, now), retired, hadCopy, gone, noticedBy },
      ]),
    ),
    promise: undefined,
    silentUntil,
    abstainFor: new Set(),
    tickedAt: now,
    vouchedIn: 0,
    wasUp: certificate !== undefined && move?.at.kind !== 'promoting',
    successionFrom: now,
    waiting: move?.at.kind === 'waiting' ? move.incident : undefined,
    policy,
  }
  return move?.incident.trigger === 'notice'
    ? patchMember(group, move.incident.instance, { noticedBy: move.incident.by })
    : group
}

function phaseOf(
  move: OpenMove | undefined,
  certificate: Certificate,
  base: Certificate | undefined,
  silentUntil: Mono,
): Phase {
  const { proposal, votes } = certificate
  switch (move?.at.kind) {
    case 'handing-over':
      return { ...move.at, incident: move.incident, giveUpAt: plus(silentUntil, HAND_OVER_AGAIN) }
    case 'promoting':
      return {
        ...move.at,
        target: proposal.primary,
        incident: move.incident,
        attempt: 0,
        offer: {
          kind: 'votes',
          proposal,
          base: base ?? null,
          votes: votes.map((vote) => ({ ...vote, echo: null })),
          gone: [],
          extras: { incident: move.incident.id, fresh: move.at.fresh },
        },
      }
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
  sentAt: undefined,
  key: undefined,
  hears: false,
  voted: 0,
  resigned: 0,
  outSince: undefined,
  readyAt: undefined,
  sync: 'unknown',
  hadCopy: false,
  attached: false,
  lagBytes: 0,
  merit: 0,
  noticedBy: undefined,
  gone: false,
  released: false,
  retired: false,
  left: false,
})
