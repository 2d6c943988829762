import type { InstanceId } from '../core/ids.ts'
import { between, type Millis, type Mono, millis } from '../core/time.ts'
import type { Group, GroupEffect, GroupMember, GroupStep, OpenIncident, Phase } from './group-types.ts'

export const quiet = (group: Group, ...effects: GroupEffect[]): GroupStep => ({ group, effects })

export const withMember = (group: Group, member: GroupMember): Group => ({
  ...group,
  members: new Map(group.members).set(member.instance, member),
})

export const patchMember = (
  group: Group,
  instance: InstanceId | undefined,
  patch: Partial<GroupMember>,
): Group => {
  const member = instance === undefined ? undefined : group.members.get(instance)
  return member ? withMember(group, { ...member, ...patch }) : group
}

/** `effects` first, then `next`. */
export const after = (effects: readonly GroupEffect[], next: GroupStep): GroupStep => ({
  group: next.group,
  effects: [...effects, ...next.effects],
})

const isThere = (member: GroupMember): boolean =>
  member.connected && !member.gone && member.noticedBy === undefined

/** May be given something to do. */
const isUsable = (member: GroupMember): boolean => isThere(member) && !member.retired

/** The members that may become primary without losing state, the least far behind first. */
export function readyTargets(group: Group, now: Mono): readonly GroupMember[] {
  return [...group.members.values()]
    .filter(
      (member) =>
        member.instance !== group.primary &&
        isUsable(member) &&
        member.sync === 'ready' &&
        member.attached &&
        between(member.heardAt, now) < group.policy.lease / 2,
    )
    .sort((a, b) => a.lagBytes - b.lagBytes || (a.instance < b.instance ? -1 : 1))
}

/** What is as little behind as this is sent in the hand-over itself. */
const CLOSE = 1024 * 1024

/**
 * Whom to hand over to, the best first: nothing is lost by it, so of those that are close behind the one with the least risk and price.
 * After a loss it is the least far behind that counts (`readyTargets`).
 */
export const handOverTargets = (group: Group, now: Mono): readonly GroupMember[] => {
  const behind = ({ lagBytes }: GroupMember): number => (lagBytes <= CLOSE ? 0 : lagBytes)
  return readyTargets(group, now).toSorted((a, b) => behind(a) - behind(b) || a.merit - b.merit)
}

/**
 * A member that holds a whole copy by its own word, though nobody can say any more how old it is: what is left when the
 * primary has ended and this coordinator never heard it vouch for a replica. A retired primary's copy counts too.
 */
export const unvouchedCopy = (group: Group): GroupMember | undefined =>
  [...group.members.values()].find(
    (member) => member.instance !== group.primary && isThere(member) && member.sync === 'ready',
  )

/** The same, though AWS will take it back: what is left of its time may do for another to get the state from it. */
export const noticedCopy = (group: Group): GroupMember | undefined =>
  [...group.members.values()].find(
    ({ instance, connected, gone, sync }) =>
      instance !== group.primary && connected && !gone && sync === 'ready',
  )

/**
 * The former primary that handed its state over last, in full. As long as nobody else fills its directories, it has all of
 * it as it was then.
 */
export const standIn = (group: Group, not: InstanceId | undefined): GroupMember | undefined =>
  [...group.members.values()].find(
    (member) => hasKept(member) && member.connected && !member.gone && member.instance !== not,
  )

/** As far as is known: by its own word, or because it has said nothing else since. */
export const mayBeWhole = (member: GroupMember): boolean =>
  member.sync === 'ready' || hasKept(member) || (member.hadCopy && member.sync === 'unknown')

/** It gave its epoch up, and does not say that what it has now is another copy, or none. */
const hasKept = ({ released, sync }: GroupMember): boolean =>
  released && sync !== 'none' && sync !== 'syncing'

/** Whoever gave its epoch up last has the latest state. */
export function released(group: Group, instance: InstanceId): Group {
  const members = new Map(
    [...group.members].map(([id, member]) => [id, { ...member, released: id === instance }]),
  )
  return { ...group, members }
}

/** A member that says it has no whole copy, so nothing is thrown away when it starts from nothing. */
export const emptyMember = (group: Group): GroupMember | undefined =>
  [...group.members.values()].find(
    (member) =>
      member.instance !== group.primary &&
      isUsable(member) &&
      (member.sync === 'none' || member.sync === 'syncing'),
  )

/** Members that may hold a whole copy and cannot be asked now; the primary itself is one until its machine has ended. */
export const silentHolders = (group: Group): readonly GroupMember[] =>
  [...group.members.values()].filter(
    (member) =>
      member.hadCopy &&
      !member.gone &&
      (member.instance === group.primary || !member.connected || member.sync === 'unknown'),
  )

/** Those without whose vote, or whose end, nobody can be forced in. */
export const silentVoters = ({ certificate, members, policy }: Group, now: Mono): readonly GroupMember[] =>
  [...members.values()].filter(
    (member) =>
      (!member.connected || between(member.heardAt, now) > policy.lease) &&
      !member.gone &&
      (member.instance === certificate?.proposal.primary ||
        member.instance === certificate?.proposal.successor),
  )

export const abortOrder = (group: Group, instance: InstanceId): GroupEffect => ({
  kind: 'order',
  instance,
  order: { kind: 'abort-hand-over', epoch: group.epoch },
})

export const fenceOrder = (group: Group, instance: InstanceId): GroupEffect => ({
  kind: 'order',
  instance,
  order: { kind: 'fence', epoch: group.epoch },
})

/** Nothing while it is open who the primary is. */
export function followOrder(group: Group, member: GroupMember): GroupEffect[] {
  const { phase, primary, epoch, certificate } = group
  if (primary === undefined || !certificate || primary === member.instance) return []
  if (phase.kind === 'electing' || (phase.kind === 'voting' && phase.change.then.kind === 'promote'))
    return []
  if (member.retired || member.noticedBy !== undefined) return [fenceOrder(group, member.instance)]
  if (phase.kind === 'promoting') return []
  const { term } = certificate.proposal
  return [{ kind: 'order', instance: member.instance, order: { kind: 'follow', epoch, term, primary } }]
}

/** Clients and standbys are led to a primary that is up. */
export const leadTo = (group: Group, instance: InstanceId): GroupEffect[] => [
  { kind: 'point-address', epoch: group.epoch, instance },
  ...[...group.members.values()]
    .filter(({ connected }) => connected)
    .flatMap((member) => followOrder(group, member)),
]

export function handOverOrder(group: Group, phase: Phase & { kind: 'handing-over' }, now: Mono): GroupEffect {
  const { incident, target } = phase
  return {
    kind: 'order',
    instance: incident.instance,
    order: {
      kind: 'hand-over',
      epoch: group.epoch,
      target,
      incident: incident.id,
      budget: millis(Math.max(between(now, phase.giveUpAt), 0)),
      urgent: incident.trigger === 'notice',
    },
  }
}

/** The incident that is open on this group, if any. */
export const openIncident = ({ phase, waiting }: Group): OpenIncident | undefined => {
  if ('incident' in phase) return phase.incident
  if ('change' in phase) return phase.change.then.kind === 'steady' ? waiting : phase.change.then.incident
  return waiting
}

export const stepOf = (incident: OpenIncident, step: string, detail: string): GroupEffect => ({
  kind: 'incident-step',
  incident: incident.id,
  step,
  detail,
})

export const wanted = (why: 'notice' | 'replaced' | 'lost', incident?: OpenIncident): GroupEffect => ({
  kind: 'replica-wanted',
  why,
  incident: incident?.id,
})

/** How long nothing was heard from the primary. */
export function silenceOf(group: Group, now: Mono): Millis {
  const primary = group.primary === undefined ? undefined : group.members.get(group.primary)
  return primary ? between(primary.heardAt, now) : millis(0)
}

/** Nobody but the primary is left who could be its standby. */
export const isAlone = ({ members, primary }: Group): boolean =>
  ![...members.values()].some(
    ({ instance, retired, gone, noticedBy }) =>
      instance !== primary && !retired && !gone && noticedBy === undefined,
  )
