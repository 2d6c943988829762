import type { Mono } from '../core/time.ts'
import type { LeasePolicy } from './lease.ts'
import { onHookEnded } from './member-hooks.ts'
import {
  failPromotion,
  fenced,
  goOn,
  LATE,
  onElected,
  onOrder,
  onUnable,
  persistGivenUp,
  returnToPrimary,
  seal,
} from './member-roles.ts'
import {
  begin,
  hook,
  inTransition,
  isQuiet,
  kill,
  mayBegin,
  owns,
  persist,
  report,
  stay,
} from './member-steps.ts'
import type { Lease, Member, MemberEffect, MemberEvent, MemberReport, MemberStep } from './member-types.ts'

export { inTransition, mayRun, owns } from './member-steps.ts'

export const newMember = (policy: LeasePolicy): Member => ({
  epoch: 0,
  term: 0,
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

/** One event in, the new state and what to do out. Pure. */
export function stepMember(before: Member, event: MemberEvent, now: Mono): MemberStep {
  const member = { ...before, at: now }
  if (isEnding(member) && (event.kind === 'order' || event.kind === 'elected')) return stay(member)
  switch (event.kind) {
    case 'booted':
      return onBooted(member, event)
    case 'order':
      return onOrder(member, event.order)
    case 'elected':
      return onElected(member, event)
    case 'advanced':
      return onAdvanced(member, event.epoch)
    case 'lease':
      return onLease(member, event.lease)
    case 'hook-ended':
      return event.turn === member.turn ? onHookEnded(member, event) : stay(member)
    case 'applied':
      return event.turn === member.turn ? onApplied(member, event) : stay(member)
    case 'drained':
      return event.turn === member.turn ? onDrained(member, event) : stay(member)
    case 'sealed':
      return event.turn === member.turn ? onSealed(member, event) : stay(member)
    case 'released':
      return event.turn === member.turn ? onReleased(member, event) : stay(member)
    case 'killed':
      return onKilled(member, event.left)
    case 'unable':
      return onUnable(member, event.why)
    case 'ending':
      return onEnding(member)
    case 'tick':
      return onTick(member)
  }
}

/** The daemon ends: nothing is begun any more. */
const isEnding = ({ role }: Member): boolean => role.kind === 'fenced' && role.ending === true

function onBooted(member: Member, event: MemberEvent & { kind: 'booted' }): MemberStep {
  const booted = { ...member, epoch: Math.max(member.epoch, event.epoch) }
  if (!event.active) return stay(booted)
  // The workload may still be running under a lease whose end this process no longer knows.
  return begin(booted, { workload: 'freezing', exposed: true }, hook('freeze'))
}

/** The epoch grows with every change of successor; nothing else changes. */
function onAdvanced(member: Member, epoch: number): MemberStep {
  if (!owns(member) || epoch <= member.epoch) return stay(member)
  const { role } = member
  // What is being put in place is not taken for a workload that was there.
  return stay({ ...member, epoch }, persist(epoch, role.kind !== 'promoting' || role.step !== 'applying'))
}

function onLease(member: Member, lease: Lease): MemberStep {
  const { role } = member
  // The next office waits until the workload of the last one has stopped; its lease goes on meanwhile.
  if (role.kind === 'fenced' && role.next?.kind === 'elected')
    return stay({ ...member, role: { ...role, next: { ...role.next, lease } } })
  if (role.kind !== 'primary' && role.kind !== 'promoting' && role.kind !== 'handing-over')
    return stay(member)
  // No lease at all while in office: whatever runs may be too late already.
  if (lease.kind === 'none') return onTick({ ...member, lease: { kind: 'until', at: member.at } })
  const renewed = { ...member, lease }
  if (!member.suspended || role.kind !== 'primary' || !isQuiet(member)) return stay(renewed)
  return goOn({ ...renewed, suspended: false })
}

/** In office it is started again as soon as the lease allows it. */
function onKilled(member: Member, left: boolean): MemberStep {
  const { role, workload } = member
  if (workload === 'stopped' || workload === 'stopping' || workload === 'killing') return stay(member)
  // What was sealed before is sealed again: some of it may still have been written.
  if (left)
    return begin(
      member,
      { workload: 'killing', exposed: true, suspended: role.kind === 'primary' || member.suspended },
      kill,
    )
  const ended: Member = { ...member, workload: 'stopped', exposed: false, turn: member.turn + 1 }
  switch (role.kind) {
    case 'promoting':
      return failPromotion(ended, LATE)
    case 'primary':
      return goOn({ ...ended, suspended: false })
    case 'handing-over':
      // What is sealed or given away stays so; before that, an ended workload is as still as a frozen one.
      return role.step === 'sealing' || role.step === 'releasing'
        ? stay({ ...ended, turn: member.turn })
        : seal(ended, role)
    default:
      return stay(ended)
  }
}

function onTick(member: Member): MemberStep {
  const { role, lease, policy, exposed, workload, at: now } = member
  if (lease.kind !== 'until' || now < lease.at - policy.fenceBudget) return stay(member)
  // Freezing or stopping had its chance: nothing may be left when the lease ends.
  if (exposed && workload !== 'killing' && now >= lease.at - policy.fenceBudget / 2)
    return begin(
      { ...member, suspended: role.kind === 'primary' || member.suspended },
      { workload: 'killing' },
      kill,
    )
  if (role.kind === 'promoting') return failPromotion(member, LATE)
  if (!exposed || inTransition(member)) return stay(member)
  const freeze = { workload: 'freezing', suspended: true } as const
  if (role.kind === 'primary') return begin(member, freeze, hook('freeze'))
  if (role.kind === 'handing-over')
    return begin(member, { ...freeze, role: { ...role, step: 'freezing' } }, hook('freeze'))
  return stay(member)
}

function onApplied(member: Member, event: MemberEvent & { kind: 'applied' }): MemberStep {
  const { role } = member
  if (role.kind !== 'promoting' || role.step !== 'applying') return stay(member)
  const { ok, why = 'the received state could not be put in place', incomplete } = event
  if (!ok) return failPromotion(member, why, incomplete)
  if (!mayBegin(member)) return failPromotion(member, LATE)
  return begin(
    member,
    { role: { ...role, step: 'starting' }, workload: 'starting', exposed: true },
    hook('start'),
    persist(member.epoch, true),
  )
}

function onDrained(member: Member, event: MemberEvent & { kind: 'drained' }): MemberStep {
  const { role } = member
  if (role.kind !== 'handing-over' || role.step !== 'draining') return stay(member)
  // Before a deadline the seal decides what there is still time for.
  if (!event.ok && !role.urgent)
    return returnToPrimary(member, event.why ?? 'the replica could not catch up in time')
  if (isQuiet(member)) return seal(member, role)
  return begin(member, { role: { ...role, step: 'freezing' }, workload: 'freezing' }, hook('freeze'))
}

function onSealed(member: Member, event: MemberEvent & { kind: 'sealed' }): MemberStep {
  const { role, incident } = member
  if (role.kind !== 'handing-over' || role.step !== 'sealing' || !incident) return stay(member)
  if (!event.ok)
    return returnToPrimary(member, event.why ?? 'the replica did not confirm the last of the state')
  const { target } = role
  const sealed = { seq: event.seq, ...(event.left === undefined ? {} : { left: event.left }) }
  return begin(member, { role: { ...role, step: 'releasing', sealed } }, (turn) => ({
    kind: 'release',
    turn,
    target,
  }))
}

function onReleased(member: Member, event: MemberEvent & { kind: 'released' }): MemberStep {
  const { role, incident } = member
  if (role.kind !== 'handing-over' || role.step !== 'releasing' || !incident || !role.sealed)
    return stay(member)
  if (!event.ok) return returnToPrimary(member, event.why ?? 'the epoch could not be given to the replica')
  const released: MemberReport = {
    kind: 'released',
    epoch: member.epoch,
    incident,
    target: role.target,
    ...role.sealed,
  }
  const next: Member = {
    ...member,
    role: { kind: 'released' },
    lease: { kind: 'none' },
    suspended: false,
    incident: undefined,
  }
  const given: MemberEffect[] = [persistGivenUp(member), report(released), { kind: 'stop-serving' }]
  return member.workload === 'stopped'
    ? fenced(next, ...given)
    : begin(next, { workload: 'stopping' }, hook('stop'), ...given)
}

/**
 * Stops the workload. Replicas are served to the end, so that they have its last writes; and the record keeps saying
 * that this was active, so that a daemon that is killed meanwhile looks after the workload when it comes back.
 */
function onEnding(member: Member): MemberStep {
  const role = { kind: 'fenced', ending: true } as const
  const ending: Member = { ...member, role, suspended: false, incident: undefined }
  if (member.workload === 'stopped' || member.workload === 'stopping' || member.workload === 'killing')
    return stay(ending)
  return begin(ending, { workload: 'stopping' }, hook('stop'))
}
