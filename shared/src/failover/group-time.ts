import type { InstanceId } from '../core/ids.ts'
import { between, type Mono, millis, mono, plus } from '../core/time.ts'
import { abandon } from './group-abandoned.ts'
import {
  afterFailedPromotion,
  considerNotice,
  giveUpHandOver,
  heirOf,
  heirToReplace,
  incidentFor,
  relaunch,
  renew,
  replaceLost,
  thenPromote,
} from './group-change.ts'
import { elect, onChangeTick } from './group-election.ts'
import { abortOrder, after, quiet, silenceOf } from './group-orders.ts'
import { considerSuccessor, isUnserved } from './group-succession.ts'
import type { Group, GroupContext, GroupEffect, GroupStep, OpenIncident, Phase } from './group-types.ts'

/** What becomes due as time goes by. */

/** How long after the last heartbeat a primary is doubted, in heartbeats. */
const SUSPECT_AFTER_BEATS = 2
/** After our own restart a new primary is given this long to connect. */
const CONNECT_WITHIN = millis(10_000)
/** A new primary that nobody could replace may be silent for so long before its move is taken for failed. */
const STALL = millis(15_000)

export function onTick(before: Group, context: GroupContext): GroupStep {
  const { now } = context
  const { lease } = before.policy
  // We stood still ourselves: that we heard nothing says nothing.
  const stoodStill = between(before.tickedAt, now) > lease / 2
  const silentUntil = stoodStill ? mono(Math.max(plus(now, lease), before.silentUntil)) : before.silentUntil
  const group: Group = { ...before, tickedAt: now, silentUntil }
  return after(missing(group), onTime(group, context))
}

/** When our promise to the primary ends, right after which there may be something to do; undefined without one. */
export const nextLook = ({ promise, primary }: Group, now: Mono): Mono | undefined =>
  promise !== undefined && promise.to === primary && now < promise.until
    ? plus(promise.until, millis(1))
    : undefined

/** Who cannot tell what it knows because its machine has ended need not be waited for. */
const missing = ({ abstainFor }: Group): GroupEffect[] =>
  [...abstainFor].map((instance) => ({ kind: 'check-instance', instance }))

function onTime(group: Group, context: GroupContext): GroupStep {
  const { now } = context
  const { phase, primary, certificate } = group
  if (primary === undefined || !certificate)
    return phase.kind === 'voting' ? onOpenChange(group, phase, context) : quiet(group)
  const doubts = doubt(group, primary, now)
  if ('change' in phase) {
    const needed = phase.kind === 'asking' ? phase.of : phase.change.proposal.primary
    return after([...doubts, ...doubt(group, needed, now)], onOpenChange(group, phase, context))
  }
  if (phase.kind === 'relaunching') return relaunch(group, phase, context)
  const isServed = phase.kind === 'steady' || phase.kind === 'routing' || phase.kind === 'handing-over'
  if (isServed && isOver(group, now)) return replaceLost(group, context)
  return whileItIs(group, phase, primary, context) ?? quiet(group, ...doubts)
}

/** What the present phase makes due; undefined when nothing is. */
function whileItIs(
  group: Group,
  phase: Phase,
  primary: InstanceId,
  context: GroupContext,
): GroupStep | undefined {
  const { now } = context
  switch (phase.kind) {
    case 'promoting':
      return whilePromoting(group, phase, primary, context)
    case 'handing-over':
      return now >= phase.giveUpAt ? callOff(group, phase, primary, context) : undefined
    case 'steady':
      return after(doubt(group, primary, now), keepSteady(group, primary, context))
    case 'failed':
      return whileFailed(group, phase, primary, context)
    default:
      return undefined
  }
}

function whileFailed(
  group: Group,
  { retryAt }: Phase & { kind: 'failed' },
  primary: InstanceId,
  context: GroupContext,
): GroupStep | undefined {
  const { now } = context
  const owner = group.members.get(primary)
  if (owner?.gone) return replaceLost(group, context)
  if (now < retryAt) return undefined
  const heir = isSilent(group, now) ? heirOf(group) : undefined
  if (heir && !heir.hears) {
    // The incident of the failure is closed: what is lost by passing the primary over takes one of its own.
    const { incident, opened } = incidentFor(group, primary, context)
    const elected = elect(group, heir.instance, thenPromote(incident), context)
    return elected && after(opened, elected)
  }
  return owner?.connected ? renew(group, primary, context) : undefined
}

function whilePromoting(
  group: Group,
  { target }: Phase & { kind: 'promoting' },
  primary: InstanceId,
  context: GroupContext,
): GroupStep | undefined {
  if (isUnserved(group) || hasVotedSince(group)) return renew(group, primary, context)
  if (isWordAwaited(group, context.now)) return undefined
  if (hasResigned(group)) return afterFailedPromotion(group, primary, 'it gave its epoch up', context)
  // It goes on while its epoch is renewed: it is lost only when one that runs would be.
  if (group.wasUp) return isOver(group, context.now) ? replaceLost(group, context) : undefined
  if (!hasFallenSilent(group, target, context.now)) return undefined
  const passed = afterFailedPromotion(group, target, 'it fell silent before the workload was up', context)
  // With nobody to go on to, it is given the time of a stall: it may have the workload up already.
  const isWaitedFor = passed.group.phase.kind === 'failed' && silenceOf(group, context.now) < STALL
  return isWaitedFor ? undefined : passed
}

const onOpenChange = (
  group: Group,
  phase: Phase & { kind: 'asking' | 'voting' | 'electing' },
  context: GroupContext,
): GroupStep => onChangeTick(group, context) ?? abandon(group, phase.change, context)

/** A primary that cannot hold its epoch gets another; and the designated successor is one that could take over. */
function keepSteady(group: Group, primary: InstanceId, context: GroupContext): GroupStep {
  const { epoch, certificate, successionFrom } = group
  const member = group.members.get(primary)
  const isHere = member?.connected === true && !isSilent(group, context.now)
  if (!member || !isHere || !certificate || context.now < successionFrom) return quiet(group)
  const lostOffice = member.resigned >= epoch
  if (lostOffice || isUnserved(group)) return renew(group, primary, context) ?? quiet(group)
  if (group.waiting?.trigger === 'silence') return heardAgain(group, primary, group.waiting, context)
  return group.waiting ? quiet(group) : considerSuccessor(group, context)
}

/** It was taken for lost, nobody could be elected in its place, and it still has its epoch. */
function heardAgain(
  group: Group,
  primary: InstanceId,
  incident: OpenIncident,
  context: GroupContext,
): GroupStep {
  const why = `${primary} is heard again and goes on at epoch ${group.epoch}: nobody took over`
  const closed: GroupEffect = { kind: 'incident-closed', incident, outcome: 'failed', why }
  return after([closed], considerNotice({ ...group, waiting: undefined }, context))
}

/** Nothing was heard from the primary for a whole lease. */
const isSilent = (group: Group, now: Mono): boolean =>
  now >= group.silentUntil && silenceOf(group, now) > group.policy.lease

/** One that this process, which has just been started, has not heard yet may still connect: agents do not come at once. */
function hasFallenSilent(group: Group, instance: InstanceId, now: Mono): boolean {
  const member = group.members.get(instance)
  const mayConnect =
    member !== undefined && member.sentAt === undefined && between(member.heardAt, now) < CONNECT_WITHIN
  return isSilent(group, now) && !mayConnect
}

/** It has voted in a later epoch, one that came to nothing, and takes no lower one any more. */
const hasVotedSince = ({ members, primary, epoch }: Group): boolean =>
  primary !== undefined && (members.get(primary)?.voted ?? 0) > epoch

const hasResigned = ({ members, primary, epoch }: Group): boolean =>
  primary !== undefined && (members.get(primary)?.resigned ?? 0) >= epoch

/** It has given its epoch up a moment ago: its report, which says why, comes on another way. */
function isWordAwaited({ members, primary, policy }: Group, now: Mono): boolean {
  const since = primary === undefined ? undefined : members.get(primary)?.outSince
  return since !== undefined && between(since, now) < SUSPECT_AFTER_BEATS * policy.heartbeat
}

const isOver = (group: Group, now: Mono): boolean =>
  (group.primary !== undefined && group.members.get(group.primary)?.gone === true) || mayReplace(group, now)

/**
 * The primary may be replaced: its lease from us has run out, the successor could take over, and does not hear it
 * either.
 */
function mayReplace(group: Group, now: Mono): boolean {
  const { promise, certificate, primary } = group
  const successor = certificate?.proposal.successor ?? undefined
  if (successor === undefined || !isSilent(group, now)) return false
  if (promise !== undefined && promise.to === primary && now < promise.until) return false
  const target = heirToReplace(group, now)
  return target !== undefined && !target.hears
}

function callOff(
  group: Group,
  phase: Phase & { kind: 'handing-over' },
  primary: InstanceId,
  context: GroupContext,
): GroupStep {
  return after(
    [abortOrder(group, primary)],
    giveUpHandOver(group, phase, 'the hand-over took too long', context),
  )
}

/** A member that missed its heartbeats is looked up in the cloud: its word saves the wait for the lease. */
function doubt(group: Group, instance: InstanceId, now: Mono): GroupEffect[] {
  const member = group.members.get(instance)
  if (!member || member.gone) return []
  const silent = between(member.heardAt, now) > SUSPECT_AFTER_BEATS * group.policy.heartbeat
  return silent ? [{ kind: 'check-instance', instance }] : []
}
