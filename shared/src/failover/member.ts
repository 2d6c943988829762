import type { IncidentId } from '../core/ids.ts'
import type { Mono } from '../core/time.ts'
import { type LeasePolicy, leaseEnd } from './lease.ts'
import type {
  Hook,
  Lease,
  Member,
  MemberEffect,
  MemberEvent,
  MemberReport,
  MemberStep,
  Role,
} from './member-types.ts'
import type { LeaseGrant, Order } from './orders.ts'

export const newMember = (policy: LeasePolicy): Member => ({
  epoch: 0,
  role: { kind: 'idle' },
  workload: 'stopped',
  lease: { kind: 'none' },
  exposed: false,
  suspended: false,
  incident: undefined,
  turn: 0,
  at: 0 as Mono,
  policy,
})

/** True while the workload may be exposed. */
export const mayRun = ({ lease }: Member, now: Mono): boolean =>
  lease.kind === 'solo' || (lease.kind === 'until' && now < lease.at)

/** Enough of the lease is left to begin something that exposes the workload. */
const mayBegin = ({ lease, at, policy }: Member): boolean =>
  lease.kind === 'solo' || (lease.kind === 'until' && at < lease.at - policy.fenceBudget)

/** One event in, the new state and what to do out. Pure. */
export function stepMember(before: Member, event: MemberEvent, now: Mono): MemberStep {
  const member = { ...before, at: now }
  switch (event.kind) {
    case 'booted':
      return onBooted(member, event)
    case 'order':
      return onOrder(member, event.order)
    case 'lease':
      return onLease(member, event.grant)
    case 'hook-ended':
      return event.turn === member.turn ? onHookEnded(member, event) : stay(member)
    case 'applied':
      return event.turn === member.turn ? onApplied(member, event) : stay(member)
    case 'drained':
      return event.turn === member.turn ? onDrained(member, event) : stay(member)
    case 'sealed':
      return event.turn === member.turn ? onSealed(member, event) : stay(member)
    case 'ending':
      return onEnding(member)
    case 'tick':
      return onTick(member)
  }
}

const stay = (member: Member, ...effects: MemberEffect[]): MemberStep => ({ member, effects })

/** The next operation: it gets a turn of its own, so that the end of an earlier one is told apart. */
const begin = (
  member: Member,
  patch: Partial<Member>,
  effect: (turn: number) => MemberEffect,
  ...before: MemberEffect[]
): MemberStep => {
  const turn = member.turn + 1
  return { member: { ...member, ...patch, turn }, effects: [...before, effect(turn)] }
}

const hook =
  (name: Hook) =>
  (turn: number): MemberEffect => ({ kind: 'hook', hook: name, turn })

const report = (body: MemberReport): MemberEffect => ({ kind: 'report', report: body })

const persist = (epoch: number, active: boolean): MemberEffect => ({ kind: 'persist', epoch, active })

const withIncident = (incident: IncidentId | undefined) => (incident ? { incident } : {})

function onBooted(member: Member, event: MemberEvent & { kind: 'booted' }): MemberStep {
  const booted = { ...member, epoch: Math.max(member.epoch, event.epoch) }
  if (!event.active) return stay(booted)
  // The workload may still be running under a lease whose end this process no longer knows.
  return begin(booted, { workload: 'freezing', exposed: true }, hook('freeze'))
}

function onOrder(member: Member, order: Order): MemberStep {
  switch (order.kind) {
    case 'follow':
      return onFollow(member, order)
    case 'promote':
      return onPromote(member, order)
    case 'hand-over':
      return onHandOver(member, order)
    case 'abort-hand-over':
      if (member.role.kind !== 'handing-over' || order.epoch !== member.epoch) return stay(member)
      return returnToPrimary(member, 'the coordinator called it off')
    case 'fence':
      return order.epoch > member.epoch ? fence(member, order.epoch) : stay(member)
  }
}

function onFollow(member: Member, order: Order & { kind: 'follow' }): MemberStep {
  if (order.epoch < member.epoch) return stay(member)
  const { role } = member
  const owns = role.kind === 'promoting' || role.kind === 'primary' || role.kind === 'handing-over'
  if (owns && order.epoch === member.epoch) return stay(member)
  if (member.workload !== 'stopped') return fence(member, order.epoch, { next: order })
  return {
    member: {
      ...member,
      epoch: order.epoch,
      role: { kind: 'replica', primary: order.primary },
      incident: undefined,
    },
    effects: [persist(order.epoch, false), { kind: 'receive', epoch: order.epoch, primary: order.primary }],
  }
}

function onPromote(member: Member, order: Order & { kind: 'promote' }): MemberStep {
  const { role } = member
  if (order.epoch < member.epoch) return stay(member)
  if (order.epoch === member.epoch) {
    // A daemon that was restarted inside an epoch must win a new one; the coordinator sees to that.
    if (role.kind !== 'primary') return stay(member)
    return stay(member, report({ kind: 'promoted', epoch: member.epoch, ...withIncident(order.incident) }))
  }
  const lease = leaseOf(order.lease, member.policy)
  const owned = { epoch: order.epoch, lease, suspended: false, incident: order.incident }
  if (!mayBegin({ ...member, ...owned })) return failPromotion({ ...member, ...owned }, LATE)
  const durable = persist(order.epoch, true)
  // It never stopped: only the epoch changes.
  if (role.kind === 'primary' && member.workload === 'running' && !order.fresh)
    return begin(
      member,
      { ...owned, role: { kind: 'promoting', step: 'checking', fresh: false } },
      hook('health'),
      durable,
    )
  if (role.kind === 'replica' || (order.fresh && member.workload === 'stopped'))
    return begin(
      member,
      { ...owned, role: { kind: 'promoting', step: 'applying', fresh: order.fresh } },
      (turn) => ({ kind: 'finish-receiving', turn, discard: order.fresh }),
      durable,
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
  if (member.workload === 'stopped')
    return begin(
      member,
      {
        ...owned,
        role: { kind: 'promoting', step: 'starting', fresh: false },
        workload: 'starting',
        exposed: true,
      },
      hook('start'),
      durable,
    )
  // The workload of an earlier role is still there: stop it first.
  return fence(member, member.epoch, { next: order })
}

const LATE = 'the lease ended before the workload was up'

function onHandOver(member: Member, order: Order & { kind: 'hand-over' }): MemberStep {
  if (order.epoch !== member.epoch) return stay(member)
  if (member.role.kind !== 'primary') return stay(member)
  const { target, budget, urgent, incident } = order
  if (member.workload !== 'running' && !isQuiet(member)) {
    const why = `its workload is ${member.workload}`
    return stay(member, report({ kind: 'hand-over-failed', epoch: member.epoch, incident, why }))
  }
  const role = { kind: 'handing-over', step: 'draining', target, budget, urgent } as const
  if (isQuiet(member)) return seal({ ...member, incident }, role)
  return begin(member, { role, incident }, (turn) => ({ kind: 'drain', turn, target, budget }))
}

const isQuiet = (member: Member): boolean => member.workload === 'frozen' || member.workload === 'stopped'

function seal(member: Member, role: Role & { kind: 'handing-over' }): MemberStep {
  return begin(member, { role: { ...role, step: 'sealing' } }, (turn) => ({
    kind: 'seal',
    turn,
    target: role.target,
    budget: role.budget,
  }))
}

function onLease(member: Member, grant: LeaseGrant): MemberStep {
  if (grant.epoch !== member.epoch) return stay(member)
  const { role, lease } = member
  if (role.kind !== 'primary' && role.kind !== 'promoting' && role.kind !== 'handing-over')
    return stay(member)
  if (lease.kind !== 'none' && grant.seq < lease.seq) return stay(member)
  const renewed = { ...member, lease: leaseOf(grant, member.policy) }
  // A late grant would end a solo run at once; the next one ends it in an orderly way.
  if (lease.kind === 'solo' && !mayBegin(renewed)) return stay(member)
  if (!member.suspended || role.kind !== 'primary' || !isQuiet(member)) return stay(renewed)
  return goOn({ ...renewed, suspended: false })
}

const leaseOf = (grant: LeaseGrant, policy: LeasePolicy): Lease =>
  grant.solo
    ? { kind: 'solo', seq: grant.seq }
    : { kind: 'until', at: leaseEnd(grant.sentAt, grant.lease, policy.drift), seq: grant.seq }

function onTick(member: Member): MemberStep {
  const { role, lease, policy, exposed, workload, at: now } = member
  if (lease.kind !== 'until' || now < lease.at - policy.fenceBudget) return stay(member)
  // Freezing or stopping had its chance: nothing may be left when the lease ends.
  if (exposed && workload !== 'killing' && now >= lease.at - policy.fenceBudget / 2)
    return begin(
      { ...member, suspended: role.kind === 'primary' || member.suspended },
      { workload: 'killing' },
      (turn) => ({ kind: 'kill', turn }),
    )
  if (role.kind === 'promoting') return failPromotion(member, LATE)
  if (!exposed || workload === 'freezing' || workload === 'stopping' || workload === 'killing')
    return stay(member)
  const freeze = { workload: 'freezing', suspended: true } as const
  if (role.kind === 'primary') return begin(member, freeze, hook('freeze'))
  if (role.kind === 'handing-over')
    return begin(member, { ...freeze, role: { ...role, step: 'freezing' } }, hook('freeze'))
  return stay(member)
}

function onApplied(member: Member, event: MemberEvent & { kind: 'applied' }): MemberStep {
  const { role } = member
  if (role.kind !== 'promoting' || role.step !== 'applying') return stay(member)
  if (!event.ok) return failPromotion(member, event.why ?? 'the received state could not be put in place')
  if (!mayBegin(member)) return failPromotion(member, LATE)
  return begin(
    member,
    { role: { ...role, step: 'starting' }, workload: 'starting', exposed: true },
    hook('start'),
  )
}

function onDrained(member: Member, event: MemberEvent & { kind: 'drained' }): MemberStep {
  const { role } = member
  if (role.kind !== 'handing-over' || role.step !== 'draining') return stay(member)
  if (!event.ok) return returnToPrimary(member, event.why ?? 'the replica could not catch up in time')
  if (isQuiet(member)) return seal(member, role)
  return begin(member, { role: { ...role, step: 'freezing' }, workload: 'freezing' }, hook('freeze'))
}

function onSealed(member: Member, event: MemberEvent & { kind: 'sealed' }): MemberStep {
  const { role, incident } = member
  if (role.kind !== 'handing-over' || role.step !== 'sealing' || !incident) return stay(member)
  if (!event.ok)
    return returnToPrimary(member, event.why ?? 'the replica did not confirm the last of the state')
  const released: MemberReport = {
    kind: 'released',
    epoch: member.epoch,
    incident,
    target: role.target,
    seq: event.seq,
  }
  const next: Member = {
    ...member,
    role: { kind: 'released' },
    lease: { kind: 'none' },
    suspended: false,
    incident: undefined,
  }
  const given: MemberEffect[] = [persist(member.epoch, false), report(released), { kind: 'stop-serving' }]
  return member.workload === 'stopped'
    ? fenced(next, ...given)
    : begin(next, { workload: 'stopping' }, hook('stop'), ...given)
}

/** Calls a hand-over off. Allowed up to the release: until then nobody else can own the epoch. */
function returnToPrimary(member: Member, why: string): MemberStep {
  const { role, incident } = member
  if (role.kind !== 'handing-over') return stay(member)
  const failed: MemberEffect[] = incident
    ? [report({ kind: 'hand-over-failed', epoch: member.epoch, incident, why })]
    : []
  const back: Member = { ...member, role: { kind: 'primary' }, incident: undefined }
  // Suspended, it goes on when the lease is renewed; running, it never stopped.
  if (member.suspended) return stay(back, ...failed)
  if (member.workload === 'running') return stay({ ...back, turn: member.turn + 1 }, ...failed)
  return goOn(back, ...failed)
}

/** Lets a frozen workload go on, and starts one that is stopped or in between. */
function goOn(member: Member, ...before: MemberEffect[]): MemberStep {
  if (!mayBegin(member)) return stay({ ...member, suspended: true }, ...before)
  const thaws = member.workload === 'frozen' || member.workload === 'freezing'
  return thaws
    ? begin(member, { workload: 'thawing', exposed: true }, hook('thaw'), ...before)
    : begin(member, { workload: 'starting', exposed: true }, hook('start'), ...before)
}

function failPromotion(member: Member, why: string): MemberStep {
  const last: MemberReport = {
    kind: 'promotion-failed',
    epoch: member.epoch,
    why,
    ...withIncident(member.incident),
  }
  return fence(member, member.epoch, { last })
}

/** Stops whatever runs; the lease stays, so that what does not stop in time is killed. */
function fence(
  member: Member,
  epoch: number,
  after: { next?: Order & { kind: 'follow' | 'promote' }; last?: MemberReport } = {},
): MemberStep {
  const fencing: Member = {
    ...member,
    epoch: Math.max(member.epoch, epoch),
    role: { kind: 'fenced', ...after },
    suspended: false,
    incident: undefined,
  }
  const end: MemberEffect[] = [
    persist(fencing.epoch, false),
    { kind: 'stop-serving' },
    { kind: 'stop-receiving' },
  ]
  if (member.workload === 'stopped') return fenced(fencing, ...end)
  if (member.workload === 'stopping' || member.workload === 'killing') return stay(fencing, ...end)
  return begin(fencing, { workload: 'stopping' }, hook('stop'), ...end)
}

/**
 * Stops the workload. Replicas are served to the end, so that they have its last writes; and the record keeps saying
 * that this was active, so that a daemon that is killed meanwhile looks after the workload when it comes back.
 */
function onEnding(member: Member): MemberStep {
  const ending: Member = { ...member, role: { kind: 'fenced' }, suspended: false, incident: undefined }
  if (member.workload === 'stopped' || member.workload === 'stopping' || member.workload === 'killing')
    return stay(ending)
  return begin(ending, { workload: 'stopping' }, hook('stop'))
}

/** Nothing runs any more: says so, and goes on to what was ordered next. */
function fenced(member: Member, ...before: MemberEffect[]): MemberStep {
  const { role, epoch } = member
  const { next, last } = role.kind === 'fenced' ? role : {}
  const stopped: Member = {
    ...member,
    role: { kind: 'fenced' },
    workload: 'stopped',
    exposed: false,
    lease: { kind: 'none' },
  }
  const effects = [...before, report(last ?? { kind: 'fenced', epoch })]
  if (!next) return { member: stopped, effects }
  const after = onOrder({ ...stopped, role: { kind: 'idle' } }, next)
  return { member: after.member, effects: [...effects, ...after.effects] }
}

function onHookEnded(member: Member, event: MemberEvent & { kind: 'hook-ended' }): MemberStep {
  switch (event.hook) {
    case 'start':
      return onStarted(member, event)
    case 'health':
      return onChecked(member, event)
    case 'freeze':
      return onFrozen(member, event)
    case 'thaw':
      return onThawed(member, event)
    case 'stop':
      if (!event.ok) return begin(member, { workload: 'killing' }, (turn) => ({ kind: 'kill', turn }))
      return onStopped({ ...member, workload: 'stopped', exposed: false })
    case 'kill':
      return onStopped({ ...member, workload: 'stopped', exposed: false })
  }
}

function onStarted(member: Member, event: MemberEvent & { kind: 'hook-ended' }): MemberStep {
  const { role } = member
  if (role.kind === 'promoting') {
    if (!event.ok) return failPromotion(member, event.why ?? 'the start hook failed')
    return begin(member, { role: { ...role, step: 'checking' }, workload: 'running' }, hook('health'))
  }
  // Back from a hand-over that stopped the workload.
  if (role.kind !== 'primary') return stay(member)
  return event.ok
    ? stay({ ...member, workload: 'running' })
    : failPromotion(member, event.why ?? 'the start hook failed')
}

function onChecked(member: Member, event: MemberEvent & { kind: 'hook-ended' }): MemberStep {
  if (member.role.kind !== 'promoting') return stay(member)
  if (!event.ok) return failPromotion(member, event.why ?? 'the health hook failed')
  if (!mayRun(member, member.at)) return failPromotion(member, LATE)
  return {
    member: { ...member, role: { kind: 'primary' }, workload: 'running', incident: undefined },
    effects: [
      { kind: 'serve', epoch: member.epoch },
      report({ kind: 'promoted', epoch: member.epoch, ...withIncident(member.incident) }),
    ],
  }
}

function onFrozen(member: Member, event: MemberEvent & { kind: 'hook-ended' }): MemberStep {
  const { role } = member
  if (!event.ok) {
    const urgent = member.suspended || role.kind !== 'handing-over' || role.urgent
    // Without a lease, or with the instance about to end, a workload that cannot be frozen is stopped.
    if (urgent) return begin(member, { workload: 'stopping' }, hook('stop'))
    return returnToPrimary(member, event.why ?? 'the freeze hook failed')
  }
  const frozen: Member = { ...member, workload: 'frozen', exposed: false }
  return role.kind === 'handing-over' ? seal(frozen, role) : stay(frozen)
}

function onThawed(member: Member, event: MemberEvent & { kind: 'hook-ended' }): MemberStep {
  const { role } = member
  if (role.kind === 'promoting') {
    // A workload that does not thaw may still start; the start hook says so if not.
    return event.ok
      ? begin(member, { role: { ...role, step: 'checking' }, workload: 'running' }, hook('health'))
      : begin(member, { role: { ...role, step: 'starting' }, workload: 'starting' }, hook('start'))
  }
  if (role.kind !== 'primary' && role.kind !== 'handing-over') return stay(member)
  return event.ok
    ? stay({ ...member, workload: 'running' })
    : begin(member, { workload: 'starting' }, hook('start'))
}

/** Called with a member whose workload has ended. */
function onStopped(member: Member): MemberStep {
  const { role } = member
  if (role.kind === 'handing-over') return seal(member, role)
  if (role.kind === 'released' || role.kind === 'fenced') return fenced(member)
  // Killed while it was being promoted.
  if (role.kind === 'promoting') return failPromotion(member, LATE)
  // Suspended, or restarted under a running workload: stopped instead of frozen.
  return stay(member)
}
