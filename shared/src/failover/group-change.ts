import type { InstanceId } from '../core/ids.ts'
import { between, type Mono, millis, plus } from '../core/time.ts'
import {
  after,
  emptyMember,
  handOverOrder,
  patchMember,
  quiet,
  readyTargets,
  silentHolders,
  standIn,
  stepOf,
  unvouchedCopy,
  wanted,
} from './group-orders.ts'
import type { Group, GroupContext, GroupEffect, GroupStep, OpenIncident, Phase } from './group-types.ts'

/** A hand-over is given up this long before the instance ends, so that the silence path still has its turn. */
const LAST_RESERVE = millis(1000)
/** Sightings of one notice tell its time within this. */
const SAME_TIME = millis(1000)
/** The longest hand-over that is waited for. */
const HAND_OVER_BUDGET = millis(60_000)
/** How long a member that had a copy is waited for before the workload starts from nothing. */
const COPY_GRACE = millis(60_000)
/** The longest wait between two tries of the only copy. */
const RETRY_CAP = millis(30_000)

/** Orders the primary to give its epoch to `target`. It stays the owner until it says that it has released it. */
export function handOver(group: Group, incident: OpenIncident, target: InstanceId, now: Mono): GroupStep {
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

/** Asks the database for the next epoch. Everything that follows waits for its answer. */
export function commit(
  group: Group,
  target: InstanceId,
  incident: OpenIncident | undefined,
  { fresh = false, attempt = 0 }: { fresh?: boolean; attempt?: number } = {},
): GroupStep {
  const to = group.epoch + 1
  const moves = group.primary !== undefined && target !== group.primary
  const drain: GroupEffect[] = moves ? [{ kind: 'drain-address', epoch: to }] : []
  return after(
    drain,
    quiet(
      {
        ...group,
        phase: { kind: 'committing', to, target, fresh, incident, attempt },
        waiting: undefined,
      },
      { kind: 'commit', from: group.epoch, to, target, previous: group.primary, incident },
    ),
  )
}

/** The primary said that it can never be active in this epoch again, so its promise is void. */
export function release(
  group: Group,
  from: InstanceId,
  target: InstanceId,
  incident: OpenIncident,
  now: Mono,
): GroupStep {
  const free = patchMember({ ...group, promiseUntil: now, soloSince: undefined }, from, {
    released: true,
  })
  return commit(free, target, incident)
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
  const targets = readyTargets(group, context.now)
  const target = targets.find((member) => member.instance === prefer) ?? targets[0]
  if (target) return after([opened], handOver(group, incident, target.instance, context.now))
  return after([opened], waitForReplica(group, incident))
}

/** A notice on the primary, of which more may have been heard before: AWS may move the time that it has named. */
export function noticeAgain(group: Group, by: Mono, context: GroupContext, prefer?: InstanceId): GroupStep {
  const open = openIncident(group)
  if (open?.trigger !== 'notice' || open.instance !== group.primary)
    return considerNotice(group, context, prefer)
  if (open.by !== undefined && Math.abs(between(open.by, by)) < SAME_TIME) return quiet(group)
  const incident: OpenIncident = { ...open, by }
  const { phase } = group
  const moved: GroupEffect = { kind: 'incident-moved', incident }
  if (phase.kind === 'handing-over')
    return quiet(
      { ...group, phase: { ...phase, incident, giveUpAt: giveUpAt(incident, context.now) } },
      moved,
    )
  if ('incident' in phase) return quiet({ ...group, phase: { ...phase, incident } }, moved)
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
  phase: Phase & { kind: 'handing-over' },
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
  const other = readyTargets(steady, now).find((member) => member.instance !== target)
  if (other) return after([failed], handOver(steady, incident, other.instance, now))
  // The same replica again, once the primary vouches for it anew.
  return after([failed], waitForReplica(patchMember(steady, target, { attached: false }), incident))
}

/** The incident that is open on this group, if any. */
const openIncident = ({ phase, waiting }: Group): OpenIncident | undefined =>
  'incident' in phase ? phase.incident : waiting

function incidentFor(
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
 * The primary is certainly not active any more: its promise has run out, or its machine has ended. A ready replica
 * takes over. Without one, and only when the machine with the state is gone, whatever is left is looked for.
 */
export function replaceLost(group: Group, context: GroupContext): GroupStep {
  const { primary } = group
  if (primary === undefined) return quiet(group)
  const target = readyTargets(group, context.now)[0]
  const gone = group.members.get(primary)?.gone ?? false
  if (!target && !gone) return quiet(group)
  const { incident, opened } = incidentFor(group, primary, context)
  if (target) return after(opened, commit(group, target.instance, incident))
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

/** Takes what is left, the best first: a whole copy of unknown age, then an instance that starts from nothing. */
export function relaunch(
  group: Group,
  { incident, emptyFrom }: Phase & { kind: 'relaunching' },
  { now }: GroupContext,
): GroupStep {
  const copy = unvouchedCopy(group)
  if (copy) {
    const detail = `${group.primary} ended before it could say how far ${copy.instance} is behind`
    return after([stepOf(incident, 'copy-of-unknown-age', detail)], commit(group, copy.instance, incident))
  }
  const holders = silentHolders(group)
  if (holders.length > 0 && now < emptyFrom)
    return quiet(group, ...holders.map(({ instance }) => ({ kind: 'check-instance' as const, instance })))
  const empty = emptyMember(group)
  if (!empty) return quiet(group)
  const detail = `no instance has a copy of the state: ${empty.instance} starts with an empty one, or with a snapshot`
  return after(
    [stepOf(incident, 'state-lost', detail)],
    commit(group, empty.instance, incident, { fresh: true }),
  )
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
): GroupStep {
  const { now } = context
  const free: Group = { ...group, promiseUntil: now, soloSince: undefined }
  const next = readyTargets(free, now)[0] ?? standIn(free, from)
  if (next) {
    const { incident, opened } = incidentFor(group, from, context)
    const failed = stepOf(incident, 'promotion-failed', `${from}: ${why}`)
    return after([...opened, failed], commit(free, next.instance, incident))
  }
  if (free.members.get(from)?.gone) return replaceLost(free, context)
  const attempt = group.phase.kind === 'promoting' ? group.phase.attempt + 1 : 1
  const retryAt = plus(now, millis(Math.min(1000 * 2 ** Math.min(attempt - 1, 10), RETRY_CAP)))
  const open = openIncident(group)
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
  return quiet({ ...free, phase: { kind: 'failed', why, retryAt, attempt }, waiting: undefined }, ...closed)
}
