import { millis } from '../core/time.ts'
import {
  begin,
  hook,
  inTransition,
  isQuiet,
  mayBegin,
  owns,
  persist,
  report,
  stay,
  taken,
  withIncident,
} from './member-steps.ts'
import type { Elected, Member, MemberEffect, MemberReport, MemberStep, Next, Role } from './member-types.ts'
import type { Order } from './orders.ts'

/** How a member changes its role: by order, by giving the epoch up, and by being fenced. */

export function onOrder(member: Member, order: Order): MemberStep {
  if (isOutvoted(member, order)) return stay(member)
  switch (order.kind) {
    case 'follow':
      return onFollow(member, order)
    case 'hand-over':
      return onHandOver(member, order)
    case 'abort-hand-over':
      if (member.role.kind !== 'handing-over' || order.epoch < member.epoch) return stay(member)
      // Its voter may have given the epoch away already.
      if (member.role.step === 'releasing') return stay(member)
      return returnToPrimary(member, 'the coordinator called it off')
    case 'fence':
      return order.epoch > member.epoch || isLetGo(member, order) ? fence(member, order.epoch) : stay(member)
  }
}

/** Our voter has won a later epoch meanwhile; the role begins with it once the last one has stopped. */
const isOutvoted = ({ role }: Member, { epoch }: Order): boolean =>
  role.kind === 'fenced' && role.next?.kind === 'elected' && epoch <= role.next.epoch

/** A replica of the very epoch is not wanted any more; it keeps what it has, and follows again when it is told to. */
const isLetGo = ({ role, epoch }: Member, order: Order): boolean =>
  role.kind === 'replica' && order.epoch === epoch

function onFollow(member: Member, order: Order & { kind: 'follow' }): MemberStep {
  if (order.epoch < member.epoch) return stay(member)
  if (owns(member) && order.epoch === member.epoch) return stay(member)
  if (member.workload !== 'stopped') return fence(member, order.epoch, { next: order })
  return {
    member: {
      ...member,
      epoch: order.epoch,
      term: order.term,
      role: { kind: 'replica', primary: order.primary },
      incident: undefined,
    },
    effects: [persist(order.epoch, false), { kind: 'receive', term: order.term, primary: order.primary }],
  }
}

/**
 * This instance owns a new epoch: the workload is brought up with what is here. One that is stopped is started only once
 * that is known to be whole, however often it was tried before; until then the record does not say that it may run.
 */
export function onElected(member: Member, order: Elected): MemberStep {
  const { role } = member
  if (order.epoch <= member.epoch && (role.kind === 'primary' || role.kind === 'promoting'))
    return stay(member)
  const { epoch, term, lease, incident } = order
  const owned = { epoch: Math.max(epoch, member.epoch), term, lease, suspended: false, incident }
  if (!mayBegin({ ...member, ...owned })) return failPromotion({ ...member, ...owned }, LATE)
  const durable = persist(owned.epoch, true)
  // It never stopped: only the epoch changes.
  if (role.kind === 'primary' && member.workload === 'running' && !order.fresh)
    return taken({ ...member, ...owned, turn: member.turn + 1 }, durable)
  // What is being put in place is the same in the new epoch.
  if (role.kind === 'promoting' && role.step === 'applying' && (role.fresh || !order.fresh))
    return stay({ ...member, ...owned }, persist(owned.epoch, false))
  if (member.workload === 'stopped')
    return begin(
      member,
      { ...owned, role: { kind: 'promoting', step: 'applying', fresh: order.fresh } },
      (turn) => ({ kind: 'finish-receiving', turn, discard: order.fresh }),
      persist(owned.epoch, false),
    )
  if (member.workload === 'frozen' && !order.fresh)
    return begin(
      member,
      {
        ...owned,
        role: { kind: 'promoting', step: 'thawing', fresh: false },
        workload: 'thawing',
        exposed: true,
      },
      hook('thaw'),
      durable,
    )
  // The workload of an earlier role is still there: stop it first.
  return fence(member, member.epoch, { next: order })
}

export const LATE = 'the lease ended before the workload was up'

function onHandOver(member: Member, order: Order & { kind: 'hand-over' }): MemberStep {
  // It may name an epoch of this term that our voter has not heard of yet.
  if (order.epoch < member.epoch || member.role.kind !== 'primary') return stay(member)
  const { target, budget, urgent, incident } = order
  if (member.workload !== 'running' && !isQuiet(member)) {
    const why = `its workload is ${member.workload}`
    return stay(member, report({ kind: 'hand-over-failed', epoch: member.epoch, incident, why }))
  }
  const role = { kind: 'handing-over', step: 'draining', target, budget, urgent } as const
  if (isQuiet(member)) return seal({ ...member, incident }, role)
  // Before a deadline half of the time is for catching up, the other half for the last of it.
  const each = urgent ? millis(budget / 2) : budget
  return begin(member, { role: { ...role, budget: each }, incident }, (turn) => ({
    kind: 'drain',
    turn,
    target,
    budget: each,
  }))
}

export function seal(member: Member, role: Role & { kind: 'handing-over' }): MemberStep {
  return begin(member, { role: { ...role, step: 'sealing' } }, (turn) => ({
    kind: 'seal',
    turn,
    target: role.target,
    budget: role.budget,
  }))
}

/** Calls a hand-over off. Allowed up to the release: until then nobody else can own the epoch. */
export function returnToPrimary(member: Member, why: string): MemberStep {
  const { role, incident } = member
  if (role.kind !== 'handing-over') return stay(member)
  const failed: MemberEffect[] = incident
    ? [report({ kind: 'hand-over-failed', epoch: member.epoch, incident, why })]
    : []
  const back: Member = { ...member, role: { kind: 'primary' }, suspended: false, incident: undefined }
  // It never stopped.
  if (member.workload === 'running') return stay({ ...back, turn: member.turn + 1 }, ...failed)
  // What is being held still or ended goes on once it is: two hooks at a time would get in each other's way.
  if (inTransition(member)) return stay({ ...back, suspended: true }, ...failed)
  return goOn(back, ...failed)
}

/** Lets a frozen workload go on, and starts one that is stopped or in between. */
export function goOn(member: Member, ...before: MemberEffect[]): MemberStep {
  if (!mayBegin(member)) return stay({ ...member, suspended: true }, ...before)
  const thaws = member.workload === 'frozen' || member.workload === 'freezing'
  return thaws
    ? begin(member, { workload: 'thawing', exposed: true }, hook('thaw'), ...before)
    : begin(member, { workload: 'starting', exposed: true }, hook('start'), ...before)
}

export function failPromotion(member: Member, why: string, incomplete?: boolean): MemberStep {
  const last: MemberReport = {
    kind: 'promotion-failed',
    epoch: member.epoch,
    why,
    ...withIncident(member.incident),
    ...(incomplete ? { incomplete } : {}),
  }
  return fence(member, member.epoch, { last })
}

/** Ends the role in its own epoch. Who has none to give up goes on as it was: stopping needs nothing that could fail. */
export function onUnable(member: Member, why: string): MemberStep {
  switch (member.role.kind) {
    case 'promoting':
    case 'primary':
    case 'handing-over':
      return failPromotion(member, why)
    case 'replica':
      return fence(member, member.epoch)
    case 'idle':
    case 'released':
    case 'fenced':
      return stay(member)
  }
}

/** Stops whatever runs; the lease stays, so that what does not stop in time is killed. */
function fence(member: Member, epoch: number, after: { next?: Next; last?: MemberReport } = {}): MemberStep {
  const fencing: Member = {
    ...member,
    epoch: Math.max(member.epoch, epoch),
    role: { kind: 'fenced', ...after },
    suspended: false,
    incident: undefined,
  }
  const end: MemberEffect[] = [persistGivenUp(fencing), { kind: 'stop-serving' }, { kind: 'stop-receiving' }]
  if (member.workload === 'stopped') return fenced(fencing, ...end)
  if (member.workload === 'stopping' || member.workload === 'killing') return stay(fencing, ...end)
  return begin(fencing, { workload: 'stopping' }, hook('stop'), ...end)
}

/** Until the workload has ended, a daemon that is started again looks after it before it follows anybody. */
export const persistGivenUp = ({ epoch, workload }: Member): MemberEffect =>
  persist(epoch, workload !== 'stopped')

/** Nothing runs any more: says so, and goes on to what was ordered next. */
export function fenced(member: Member, ...before: MemberEffect[]): MemberStep {
  const { role, epoch } = member
  const { next, last, ending } = role.kind === 'fenced' ? role : {}
  const stopped: Member = {
    ...member,
    role: { kind: 'fenced', ...(ending ? { ending } : {}) },
    workload: 'stopped',
    exposed: false,
    lease: { kind: 'none' },
  }
  // Not before everything has stopped; and the next office is not given up with the last one. Nor is that of a daemon that
  // ends: it would be offered another while its last writes are still being sent.
  const resigns: MemberEffect[] = next?.kind === 'elected' || ending ? [] : [{ kind: 'resign', epoch }]
  const effects = [...before, ...resigns, report(last ?? { kind: 'fenced', epoch })]
  if (!next) return { member: stopped, effects }
  const idle: Member = { ...stopped, role: { kind: 'idle' } }
  const after = next.kind === 'elected' ? onElected(idle, next) : onOrder(idle, next)
  return { member: after.member, effects: [...effects, ...after.effects] }
}
