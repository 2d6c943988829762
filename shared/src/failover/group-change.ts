import type { InstanceId } from '../core/ids.ts'
import { between, type Mono, millis, plus } from '../core/time.ts'
import type { CastVote, Proposal } from './certificate.ts'
import { designate, elect, vote } from './group-election.ts'
import {
  after,
  emptyMember,
  handOverOrder,
  handOverTargets,
  isAlone,
  noticedCopy,
  openIncident,
  patchMember,
  quiet,
  readyTargets,
  released,
  silenceOf,
  silentHolders,
  silentVoters,
  standIn,
  stepOf,
  unvouchedCopy,
  wanted,
} from './group-orders.ts'
import { isUnserved } from './group-succession.ts'
import type {
  Group,
  GroupContext,
  GroupEffect,
  GroupMember,
  GroupStep,
  OpenIncident,
  Phase,
  Then,
} from './group-types.ts'

/** A hand-over is given up this long before the instance ends, so that the silence path still has its turn. */
const LAST_RESERVE = millis(1000)
/** Sightings of one notice tell its time within this. */
const SAME_TIME = millis(1000)
/** The longest hand-over that is waited for. */
const HAND_OVER_BUDGET = millis(60_000)
/** How long a member that had a copy is waited for before the workload starts from nothing. */
const COPY_GRACE = millis(60_000)
/** Within this whoever has a whole copy by now has said so. */
const LATE_WORD = millis(1000)
/** A silent primary is not replaced by a copy that may be older than this by more than its silence. */
const STALE_FOR = millis(5000)
/** The longest wait between two tries of the only copy. */
const RETRY_CAP = millis(30_000)

/**
 * Has the primary give its epoch to `target`, which is made the successor first if it is not. The primary stays the
 * owner until it says that it has voted for the target.
 */
export function handOver(
  group: Group,
  incident: OpenIncident,
  target: InstanceId,
  context: GroupContext,
): GroupStep {
  const { now } = context
  if (group.certificate?.proposal.successor !== target) {
    // Without a lease from us the primary agrees to no other successor: its own epoch is renewed first (group-time.ts).
    if (isUnserved(group)) return quiet({ ...group, phase: { kind: 'steady' }, waiting: incident })
    const step = stepOf(
      incident,
      'successor-changed',
      `${target} is made the successor of ${incident.instance}`,
    )
    const asked = designate(group, target, { kind: 'hand-over', incident, target }, context)
    if (asked) return after([step], asked)
    return quiet({ ...group, phase: { kind: 'steady' }, waiting: incident })
  }
  const phase = { kind: 'handing-over' as const, incident, target, giveUpAt: giveUpAt(incident, now) }
  const detail = `${incident.instance} gives epoch ${group.epoch} to ${target}`
  return quiet(
    { ...group, phase, waiting: undefined },
    handOverOrder(group, phase, now),
    stepOf(incident, 'hand-over-ordered', detail),
  )
}

function giveUpAt({ by }: OpenIncident, now: Mono): Mono {
  const left = by === undefined ? HAND_OVER_BUDGET : between(now, by)
  return plus(now, millis(Math.min(Math.max(left - LAST_RESERVE, LAST_RESERVE), HAND_OVER_BUDGET)))
}

/** The primary has voted for `target` and can never be active in this epoch again: our vote makes it a certificate. */
export function release(
  group: Group,
  from: InstanceId,
  { proposal, vote: cast }: { readonly proposal: Proposal; readonly vote: CastVote },
  incident: OpenIncident,
  context: GroupContext,
): GroupStep {
  const free = patchMember(released(group, from), from, { resigned: group.epoch, voted: proposal.epoch })
  const then = { kind: 'promote' as const, incident, fresh: false, attempt: 0 }
  return vote(free, { proposal, votes: [cast], gone: [], then }, context)
}

/** If AWS is about to take the primary back, moves off it, or says that nobody is ready to take over. */
export function considerNotice(group: Group, context: GroupContext, prefer?: InstanceId): GroupStep {
  const { phase, primary, waiting } = group
  const by = primary === undefined ? undefined : group.members.get(primary)?.noticedBy
  if (phase.kind !== 'steady' || primary === undefined || by === undefined || waiting) return quiet(group)
  const incident: OpenIncident = {
    id: context.newIncident(),
    trigger: 'notice',
    instance: primary,
    by,
    keepOld: false,
  }
  const opened: GroupEffect = { kind: 'incident-opened', incident }
  const targets = handOverTargets(group, context.now)
  const target = targets.find((member) => member.instance === prefer) ?? targets[0]
  if (target) return after([opened], handOver(group, incident, target.instance, context))
  return after([opened], waitForReplica(group, incident))
}

/**
 * A notice on the primary, of which more may have been heard before: AWS may move the time that it has named. A move by hand or a
 * rehearsal that is under way becomes the answer to the notice: to call it off and begin again would take longer.
 */
export function noticeAgain(group: Group, by: Mono, context: GroupContext, prefer?: InstanceId): GroupStep {
  const open = openIncident(group)
  if (!open || open.trigger === 'silence' || open.instance !== group.primary)
    return considerNotice(group, context, prefer)
  const isSame = open.by !== undefined && Math.abs(between(open.by, by)) < SAME_TIME
  if (open.trigger === 'notice' && isSame) return quiet(group)
  const incident: OpenIncident = { ...open, trigger: 'notice', by, keepOld: false }
  const { phase } = group
  const moved: GroupEffect = { kind: 'incident-moved', incident }
  if (phase.kind === 'handing-over')
    return quiet(
      { ...group, phase: { ...phase, incident, giveUpAt: giveUpAt(incident, context.now) } },
      moved,
    )
  if ('incident' in phase) return quiet({ ...group, phase: { ...phase, incident } }, moved)
  if ('change' in phase && phase.change.then.kind !== 'steady') {
    const then = { ...phase.change.then, incident }
    return quiet({ ...group, phase: { ...phase, change: { ...phase.change, then } } }, moved)
  }
  return quiet({ ...group, waiting: incident }, moved)
}

function waitForReplica(group: Group, incident: OpenIncident): GroupStep {
  return quiet(
    { ...group, phase: { kind: 'steady' }, waiting: incident },
    stepOf(
      incident,
      'no-replica-ready',
      'no replica is ready; one is wanted, and takes over if it is ready in time',
    ),
    wanted('notice', incident),
  )
}

/** Back to the old primary. With a notice running, another replica is tried while there is time. */
export function giveUpHandOver(
  group: Group,
  phase: { readonly incident: OpenIncident; readonly target: InstanceId },
  why: string,
  context: GroupContext,
): GroupStep {
  const { incident, target } = phase
  const steady: Group = { ...group, phase: { kind: 'steady' } }
  const failed = stepOf(incident, 'hand-over-failed', why)
  if (incident.trigger !== 'notice')
    return after(
      [failed, { kind: 'incident-closed', incident, outcome: 'failed', why }],
      considerNotice(steady, context),
    )
  const { now } = context
  if (incident.by !== undefined && between(now, incident.by) <= LAST_RESERVE)
    return quiet({ ...steady, waiting: incident }, failed)
  const other = handOverTargets(steady, now).find((member) => member.instance !== target)
  if (other) return after([failed], handOver(steady, incident, other.instance, context))
  // The same replica again, once the primary vouches for it anew.
  return after([failed], waitForReplica(patchMember(steady, target, { attached: false }), incident))
}

/** The open incident, or one that begins with the loss of `instance`. */
export function incidentFor(
  group: Group,
  instance: InstanceId,
  context: GroupContext,
): { incident: OpenIncident; opened: GroupEffect[] } {
  const open = openIncident(group)
  if (open) return { incident: open, opened: [] }
  const incident: OpenIncident = {
    id: context.newIncident(),
    trigger: 'silence',
    instance,
    by: undefined,
    keepOld: true,
  }
  return { incident, opened: [{ kind: 'incident-opened', incident }] }
}

/**
 * The primary has fallen silent, or its machine has ended. The successor takes over if it is ready. Anybody else only
 * when the machine with the state is gone: then whatever is left is looked for.
 */
export function replaceLost(group: Group, context: GroupContext): GroupStep {
  const { primary, certificate } = group
  if (primary === undefined || !certificate) return quiet(group)
  const lost = group.members.get(primary)
  const isGone = lost === undefined || lost.gone || lost.resigned >= group.epoch
  const ready = readyTargets(group, context.now)
  const target = heirToReplace(group, context.now) ?? (isGone ? ready[0] : undefined)
  if (!target && !isGone) return quiet(group)
  const { incident, opened } = incidentFor(group, primary, context)
  const elected = target && elect(group, target.instance, thenPromote(incident), context)
  if (elected) return after(opened, elected)
  if (!isGone) return quiet(group)
  const relaunching = {
    kind: 'relaunching' as const,
    incident,
    emptyFrom: plus(context.now, COPY_GRACE),
  }
  const next: Group = { ...group, phase: relaunching, waiting: undefined }
  const found = relaunch(next, relaunching, context)
  if (found.group.phase.kind !== 'relaunching') return after(opened, found)
  const detail = `${primary} has ended and no replica is ready: waiting for a copy of the state, or for a new instance`
  return after([...opened, stepOf(incident, 'no-copy-at-hand', detail), wanted('lost', incident)], found)
}

export const thenPromote = (
  incident: OpenIncident | undefined,
  { fresh = false, attempt = 0 }: { fresh?: boolean; attempt?: number } = {},
): Then & { kind: 'promote' } => ({ kind: 'promote', incident, fresh, attempt })

/** Takes what is left, the best first: a whole copy of unknown age, then an instance that starts from nothing. */
export function relaunch(
  group: Group,
  { incident, emptyFrom }: Phase & { kind: 'relaunching' },
  context: GroupContext,
): GroupStep {
  const { now } = context
  const owner = group.primary === undefined ? undefined : group.members.get(group.primary)
  // It was given up, and has come back: it still has the state.
  const isBack = owner?.connected && !owner.gone && silenceOf(group, now) <= group.policy.lease
  const renewed = isBack ? renew(group, owner.instance, context) : undefined
  if (renewed) return renewed
  const heir = group.certificate?.proposal.successor
  const readies = readyTargets(group, now)
  const ready = readies.find(({ instance }) => instance === heir) ?? readies[0]
  const taken = ready && elect(group, ready.instance, thenPromote(incident), context)
  if (taken) return taken
  // The successor has what was vouched for, even if its own end is near; who handed the state over has it as it was then.
  const copy = heirOf(group) ?? unvouchedCopy(group) ?? standIn(group, group.primary) ?? noticedCopy(group)
  const copied = copy && elect(group, copy.instance, thenPromote(incident), context)
  if (copy && copied) {
    const detail = `${group.primary} ended before it could say how far ${copy.instance} is behind`
    return after([stepOf(incident, 'copy-of-unknown-age', detail)], copied)
  }
  const holders = silentHolders(group)
  const asked = [...holders, ...silentVoters(group, now)].map(
    ({ instance }): GroupEffect => ({ kind: 'check-instance', instance }),
  )
  // Soon after a start there may be members that a restored database does not know.
  const isSoon = now < group.silentUntil || now < emptyFrom - COPY_GRACE + LATE_WORD
  const isEarly = isSoon || (holders.length > 0 && now < emptyFrom)
  if (copy || isEarly) return quiet(group, ...asked)
  const empty = emptyMember(group)
  const begun = empty && elect(group, empty.instance, thenPromote(incident, { fresh: true }), context)
  if (!empty || !begun) return quiet(group, ...asked)
  const detail = `no instance has a copy of the state: ${empty.instance} starts with an empty one, or with a snapshot`
  return after([stepOf(incident, 'state-lost', detail)], begun)
}

/**
 * `from` owned the epoch and is certainly not active in it any more, because it could not bring the workload up. The
 * next best copy of the state takes over; the only copy is tried again.
 */
export function afterFailedPromotion(
  group: Group,
  from: InstanceId,
  why: string,
  context: GroupContext,
  /** It has only a part of a copy. */
  incomplete = false,
): GroupStep {
  const { now } = context
  const attempt = group.phase.kind === 'promoting' ? group.phase.attempt + 1 : 1
  const { incident, opened } = incidentFor(group, from, context)
  const told = stepOf(incident, 'promotion-failed', `${from}: ${why}`)
  const copy = incomplete ? (unvouchedCopy(group) ?? noticedCopy(group)) : undefined
  for (const next of [...whoIsNext(group, from, attempt, now), ...(copy ? [copy] : [])]) {
    const elected = elect(group, next.instance, thenPromote(incident), context)
    if (elected) return after([...opened, told], elected)
  }
  if (group.members.get(from)?.gone) return replaceLost(group, context)
  return failed(group, from, why, attempt, now)
}

/**
 * Who was vouched for and has a vote comes first; then who handed everything over, if nothing can have been written since.
 * When the primary itself has been tried in vain, or is not there to try again, its successor is taken though nobody
 * vouches for it any more. Who once had everything never takes the place of one that has been up since and is there.
 */
function whoIsNext(group: Group, from: InstanceId, attempt: number, now: Mono): readonly GroupMember[] {
  const heir = group.certificate?.proposal.successor
  const ready = readyTargets(group, now)
  const isThere = (group.members.get(from)?.resigned ?? 0) >= group.epoch
  return [
    ready.find(({ instance }) => instance === heir),
    group.wasUp ? undefined : standIn(group, from),
    ...ready,
    attempt > 1 || !isThere ? heirOf(group) : undefined,
  ].filter((member) => member !== undefined)
}

/**
 * The successor, if the primary has vouched for it, at its last word or shortly before: its line to the successor may have
 * been lost a moment before the one to us. A primary that this process has never heard in its term cannot have: then the
 * word of the successor itself is the best there is.
 */
export function heirToReplace(group: Group, now: Mono): GroupMember | undefined {
  const { certificate, vouchedIn } = group
  const vouched = readyTargets(group, now).find(
    ({ instance }) => instance === certificate?.proposal.successor,
  )
  if (vouched) return vouched
  const heir = heirOf(group)
  if (!heir || heir.noticedBy !== undefined) return undefined
  const isUnheard = certificate !== undefined && vouchedIn < certificate.proposal.term
  return isUnheard || wasVouchedFor(group, heir, now) ? heir : undefined
}

/** When the primary fell silent, the successor had not been out of its sight for long. */
function wasVouchedFor(
  { members, primary, policy }: Group,
  { readyAt, heardAt }: GroupMember,
  now: Mono,
): boolean {
  const owner = primary === undefined ? undefined : members.get(primary)
  const isHeard = between(heardAt, now) < policy.lease / 2
  return (
    isHeard && owner !== undefined && readyAt !== undefined && between(readyAt, owner.heardAt) <= STALE_FOR
  )
}

/** The successor, if it can be asked and has a whole copy by its own word. */
export function heirOf({ certificate, members }: Group): GroupMember | undefined {
  const heir = certificate?.proposal.successor
  const member = heir == null ? undefined : members.get(heir)
  return member?.connected && !member.gone && member.sync === 'ready' ? member : undefined
}

/** There is no other copy that could take over: the only one is tried again later. */
export function failed(group: Group, from: InstanceId, why: string, attempt: number, now: Mono): GroupStep {
  const retryAt = plus(now, millis(Math.min(1000 * 2 ** Math.min(attempt - 1, 10), RETRY_CAP)))
  const open = openIncident(group)
  // Whoever gets it to serve in the end has no standby: the record of this move is closed by then.
  const replacement = open && open.instance !== from && isAlone(group) ? [wanted('replaced')] : []
  const closed: GroupEffect[] = open
    ? [
        stepOf(open, 'promotion-failed', `${from}: ${why}`),
        {
          kind: 'incident-closed',
          incident: open,
          outcome: 'failed',
          why: `${from} could not take over and there is no other copy of the state: ${why}`,
        },
      ]
    : []
  const phase = { kind: 'failed', why, retryAt, attempt } as const
  return quiet({ ...group, phase, waiting: undefined }, ...closed, ...replacement)
}

/** It is active in no epoch any more, or cannot hold the one that it has; it still has the state, so it gets another. */
export function renew(group: Group, instance: InstanceId, context: GroupContext): GroupStep | undefined {
  const { phase } = group
  const attempt = phase.kind === 'promoting' || phase.kind === 'failed' ? phase.attempt : 0
  return elect(group, instance, thenPromote(openIncident(group), { attempt }), context)
}
