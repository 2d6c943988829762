import type { InstanceId } from '../core/ids.ts'
import { between, formatMillis, type Mono, plus } from '../core/time.ts'
import {
  afterFailedPromotion,
  commit,
  giveUpHandOver,
  handOver,
  noticeAgain,
  relaunch,
  release,
  replaceLost,
} from './group-change.ts'
import {
  after,
  fenceOrder,
  followOrder,
  handOverOrder,
  owner,
  patchMember,
  quiet,
  readyTargets,
  silenceOf,
  wanted,
  withMember,
} from './group-orders.ts'
import { onCommitted, onPromoted, onPromotionFailed, onRouted, promote } from './group-promotion.ts'
import { unheard } from './group-restore.ts'
import type {
  Group,
  GroupContext,
  GroupEffect,
  GroupEvent,
  GroupMember,
  GroupStep,
  OpenIncident,
  Phase,
} from './group-types.ts'
import { promiseEnd } from './lease.ts'

export { readyTargets, silenceOf } from './group-orders.ts'
export { restoreGroup } from './group-restore.ts'
export type * from './group-types.ts'

/** How long after the last heartbeat a primary is doubted, in heartbeats. */
const SUSPECT_AFTER_BEATS = 2
/** One event in, the new state and what to do out. Pure apart from the ids that the context hands out. */
export function stepGroup(group: Group, event: GroupEvent, context: GroupContext): GroupStep {
  switch (event.kind) {
    case 'joined':
      return quiet(
        withMember(group, group.members.get(event.instance) ?? unheard(event.instance, context.now)),
      )
    case 'left':
      return onLeft(group, event.instance)
    case 'connected':
      return onConnected(group, event, context)
    case 'disconnected':
      return quiet(patchMember(group, event.instance, { connected: false }))
    case 'heartbeat':
      return onHeartbeat(group, event, context)
    case 'sync':
      return onSync(
        patchMember(group, event.instance, { sync: event.sync, hadCopy: event.sync === 'ready' }),
        context,
      )
    case 'notice':
      return onNotice(group, event, context)
    case 'notice-withdrawn':
      return onNoticeWithdrawn(group, event.instance)
    case 'promote':
      return onPromote(group, event, context)
    case 'released':
      return onReleased(group, event, context)
    case 'hand-over-failed':
      return onHandOverFailed(group, event, context)
    case 'promoted':
      return onPromoted(group, event, context)
    case 'promotion-failed':
      return onPromotionFailed(group, event, context)
    case 'committed':
      return onCommitted(group, event, context)
    case 'routed':
      return onRouted(group, event, context)
    case 'gone':
      return onGone(group, event.instance, context)
    case 'tick':
      return onTick(group, context)
  }
}

/** The primary needs no lease, or may hold a grant that says so: silence alone never replaces it. */
export const runsAlone = ({ soloSince }: Group): boolean => soloSince !== undefined

/** Why `target` cannot be promoted by hand now, in one sentence; undefined when it can. */
export function mayPromote(group: Group, target: InstanceId, now: Mono): string | undefined {
  const { phase, primary } = group
  if (primary === undefined) return 'the agent has no primary yet'
  if (target === primary) return `${target} is the primary already`
  if (phase.kind !== 'steady') return `another change is under way (${phase.kind})`
  const silence = silenceOf(group, now)
  if (silence > group.policy.lease) {
    const silent = `nothing was heard from the primary ${primary} for ${formatMillis(silence)}`
    return runsAlone(group)
      ? `${silent}; it runs alone, so it is replaced only once its instance is known to have ended`
      : `${silent}; it can be replaced once its lease has run out`
  }
  const member = group.members.get(target)
  if (!member) return `${target} is not a member`
  if (member.noticedBy !== undefined) return `${target} has an interruption notice of its own`
  if (!readyTargets(group, now).includes(member))
    return `${target} is not ready: ${member.connected ? `its state is ${member.sync}` : 'it is not connected'}`
  return undefined
}

function onLeft(group: Group, instance: InstanceId): GroupStep {
  if (instance === group.primary) return quiet(patchMember(group, instance, { connected: false }))
  const members = new Map(group.members)
  members.delete(instance)
  return quiet({ ...group, members })
}

function onConnected(
  group: Group,
  event: GroupEvent & { kind: 'connected' },
  context: GroupContext,
): GroupStep {
  const { instance } = event
  const known = group.members.get(instance)
  if (!known) return quiet(group, fenceOrder(group, instance))
  const member: GroupMember = {
    ...known,
    connected: true,
    heardAt: context.now,
    beat: { seq: event.seq, sentAt: event.sentAt },
    gone: false,
    sync: 'unknown',
  }
  const next = withMember(group, member)
  const { phase } = next
  if (phase.kind === 'vacant') return commit(next, instance, undefined)
  if (instance === owner(next)) return onOwnerConnected(next, event, context)
  return quiet(next, ...followOrder(next, member))
}

function onOwnerConnected(
  group: Group,
  event: GroupEvent & { kind: 'connected' },
  { now }: GroupContext,
): GroupStep {
  const { phase } = group
  const { instance, role, epoch } = event
  if (phase.kind === 'committing') return quiet(group)
  if (phase.kind === 'promoting' && epoch < group.epoch) return promote(group, phase, now)
  const active = role === 'primary' || role === 'promoting' || role === 'handing-over'
  if (active && epoch === group.epoch) {
    if (phase.kind === 'handing-over') return quiet(group, handOverOrder(group, phase, now))
    if (phase.kind === 'promoting') return promote(group, phase, now)
    return quiet(
      phase.kind === 'relaunching' ? { ...group, phase: { kind: 'steady' }, waiting: phase.incident } : group,
    )
  }
  if (role === 'released' && phase.kind === 'handing-over')
    return release(group, instance, phase.target, phase.incident, now)
  // It is active in no epoch, or in one that is over; it still has the state, so it gets a new one.
  const incident = 'incident' in phase ? phase.incident : group.waiting
  const attempt = phase.kind === 'promoting' || phase.kind === 'failed' ? phase.attempt : 0
  return commit(group, instance, incident, { attempt })
}

function onHeartbeat(
  group: Group,
  event: GroupEvent & { kind: 'heartbeat' },
  context: GroupContext,
): GroupStep {
  const { now } = context
  const member = group.members.get(event.instance)
  if (!member) return quiet(group, fenceOrder(group, event.instance))
  const heard = withMember(group, {
    ...member,
    connected: true,
    heardAt: now,
    beat: { seq: event.seq, sentAt: event.sentAt },
  })
  const owns = event.instance === owner(heard) && heard.phase.kind !== 'committing'
  if (!owns) {
    const stale = event.lease.kind !== 'none' && event.epoch < heard.epoch
    return quiet(heard, ...(stale ? [fenceOrder(heard, event.instance)] : []))
  }
  if (event.epoch !== heard.epoch) return quiet(heard)
  const seen = vouchedFor(heard, event.replicas)
  const confirmed =
    seen.soloSince !== undefined && event.lease.kind === 'until' && event.lease.seq > seen.soloSince
  const solo = seen.phase.kind === 'steady' && readyTargets(seen, now).length === 0
  const promised: Group = {
    ...seen,
    promiseUntil: promiseEnd(now, seen.policy),
    soloSince: solo ? event.seq : confirmed ? undefined : seen.soloSince,
  }
  const grant: GroupEffect = {
    kind: 'lease',
    instance: event.instance,
    grant: {
      epoch: seen.epoch,
      seq: event.seq,
      sentAt: event.sentAt,
      lease: seen.policy.lease,
      solo,
    },
  }
  return after([grant], onSync(promised, context))
}

/** What the primary says of its replicas; one that it does not name is not attached to it any more. */
function vouchedFor(group: Group, said: (GroupEvent & { kind: 'heartbeat' })['replicas']): Group {
  // A new primary serves nobody yet: until it is up, what the old one said last is the best there is.
  const named = new Set(said.map(({ instance }) => instance))
  const cut = [...group.members.keys()].filter((id) => group.phase.kind !== 'promoting' && !named.has(id))
  const kept = cut.reduce((g, instance) => patchMember(g, instance, { attached: false }), group)
  return said.reduce(
    (g, { instance, attached, lagBytes }) => patchMember(g, instance, { attached, lagBytes }),
    kept,
  )
}

/** What waited for a replica goes on as soon as one is ready. */
function onSync(group: Group, context: GroupContext): GroupStep {
  const { now } = context
  if (group.phase.kind === 'relaunching') return relaunch(group, group.phase, context)
  if (!group.waiting || group.phase.kind !== 'steady') return quiet(group)
  const target = readyTargets(group, now)[0]
  return target ? handOver(group, group.waiting, target.instance, now) : quiet(group)
}

function onNotice(group: Group, event: GroupEvent & { kind: 'notice' }, context: GroupContext): GroupStep {
  const member = group.members.get(event.instance)
  if (!member || member.retired) return quiet(group)
  const by = plus(context.now, event.left)
  const next = patchMember(group, event.instance, { noticedBy: by })
  if (event.instance === group.primary) return noticeAgain(next, by, context, event.prefer)
  return quiet(next, ...(member.noticedBy === undefined ? [wanted('lost')] : []))
}

/** A standby that was let go because of the notice is one again. */
function onNoticeWithdrawn(group: Group, instance: InstanceId): GroupStep {
  const next = patchMember(group, instance, { noticedBy: undefined })
  const member = next.members.get(instance)
  return quiet(next, ...(member?.connected && instance !== owner(next) ? followOrder(next, member) : []))
}

function onPromote(group: Group, event: GroupEvent & { kind: 'promote' }, context: GroupContext): GroupStep {
  const { now } = context
  if (group.primary === undefined || mayPromote(group, event.target, now) !== undefined) return quiet(group)
  const incident: OpenIncident = group.waiting ?? {
    id: context.newIncident(),
    trigger: 'planned',
    instance: group.primary,
    by: plus(now, event.budget),
    keepOld: event.keepOld,
  }
  const opened: GroupEffect[] = group.waiting ? [] : [{ kind: 'incident-opened', incident }]
  return after(opened, handOver(group, incident, event.target, now))
}

function onReleased(
  group: Group,
  event: GroupEvent & { kind: 'released' },
  context: GroupContext,
): GroupStep {
  const { instance, epoch, target } = event
  const { phase } = group
  if (instance !== group.primary || epoch !== group.epoch) return quiet(group)
  if (phase.kind === 'handing-over')
    return release(group, instance, phase.target, phase.incident, context.now)
  if (phase.kind !== 'steady') return quiet(group)
  // We had given the hand-over up, but the primary went through with it: nobody has the epoch now.
  const incident: OpenIncident = group.waiting ?? {
    id: context.newIncident(),
    trigger: 'planned',
    instance,
    by: undefined,
    keepOld: true,
  }
  const opened: GroupEffect[] = group.waiting ? [] : [{ kind: 'incident-opened', incident }]
  return after(opened, release(group, instance, target, incident, context.now))
}

function onHandOverFailed(
  group: Group,
  event: GroupEvent & { kind: 'hand-over-failed' },
  context: GroupContext,
): GroupStep {
  const { phase } = group
  if (phase.kind !== 'handing-over' || event.instance !== group.primary || event.epoch !== group.epoch)
    return quiet(group)
  return giveUpHandOver(group, phase, event.why, context)
}

function onGone(group: Group, instance: InstanceId, context: GroupContext): GroupStep {
  const member = group.members.get(instance)
  if (!member || member.gone) return quiet(group)
  const next = patchMember(group, instance, { gone: true, connected: false, sync: 'unknown' })
  const { phase } = next
  if (instance !== owner(next)) {
    const counted = !member.retired && member.noticedBy === undefined
    const lost = counted ? [wanted('lost')] : []
    return phase.kind === 'relaunching' ? after(lost, relaunch(next, phase, context)) : quiet(next, ...lost)
  }
  if (phase.kind === 'committing' || phase.kind === 'relaunching') return quiet(next)
  const free: Group = {
    ...next,
    promiseUntil: context.now,
    silentUntil: context.now,
    soloSince: undefined,
  }
  return phase.kind === 'promoting'
    ? afterFailedPromotion(free, instance, 'its instance has ended', context)
    : replaceLost(free, context)
}

function onTick(group: Group, context: GroupContext): GroupStep {
  const { now } = context
  const { phase, primary } = group
  if (now < group.silentUntil || primary === undefined) return quiet(group)
  const expired = now >= group.promiseUntil && group.soloSince === undefined
  switch (phase.kind) {
    case 'promoting':
      // Its lease was never renewed, so by its own clock it has stopped.
      if (expired)
        return afterFailedPromotion(group, phase.target, 'it fell silent before the workload was up', context)
      break
    case 'handing-over':
      if (expired && readyTargets(group, now).length > 0) return replaceLost(group, context)
      if (now >= phase.giveUpAt) return callOff(group, phase, primary, context)
      break
    case 'steady':
    case 'routing':
      if (expired && readyTargets(group, now).length > 0) return replaceLost(group, context)
      break
    case 'failed':
      if (now >= phase.retryAt && group.members.get(primary)?.connected)
        return commit(group, primary, undefined, { attempt: phase.attempt })
      break
    case 'relaunching':
      return relaunch(group, phase, context)
    case 'vacant':
    case 'committing':
      return quiet(group)
  }
  return quiet(group, ...doubt(group, primary, now))
}

function callOff(
  group: Group,
  phase: Phase & { kind: 'handing-over' },
  primary: InstanceId,
  context: GroupContext,
): GroupStep {
  const abort: GroupEffect = {
    kind: 'order',
    instance: primary,
    order: { kind: 'abort-hand-over', epoch: group.epoch },
  }
  return after([abort], giveUpHandOver(group, phase, 'the hand-over took too long', context))
}

/** A member that missed its heartbeats is looked up in the cloud: its word saves the wait for the lease. */
function doubt(group: Group, instance: InstanceId, now: Mono): GroupEffect[] {
  const member = group.members.get(instance)
  if (!member || member.gone) return []
  const silent = between(member.heardAt, now) > SUSPECT_AFTER_BEATS * group.policy.heartbeat
  return silent ? [{ kind: 'check-instance', instance }] : []
}
