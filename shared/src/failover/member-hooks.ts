import { failPromotion, fenced, goOn, LATE, persistGivenUp, returnToPrimary, seal } from './member-roles.ts'
import { begin, hook, kill, mayBegin, mayRun, stay, taken } from './member-steps.ts'
import type { Member, MemberEvent, MemberStep } from './member-types.ts'

/** What follows when a hook has ended. */

export function onHookEnded(member: Member, event: MemberEvent & { kind: 'hook-ended' }): MemberStep {
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
    case 'kill':
      // What does not end may be doing something: it is killed again, and nothing follows before it has ended (M4).
      if (!event.ok) return begin(member, { workload: 'killing' }, kill)
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
  return taken(member)
}

function onFrozen(member: Member, event: MemberEvent & { kind: 'hook-ended' }): MemberStep {
  const { role } = member
  if (!event.ok) {
    const goesOn = role.kind === 'primary' || (role.kind === 'handing-over' && !role.urgent)
    // Without a lease, or with the instance about to end, a workload that cannot be frozen is stopped.
    if (!goesOn || !mayBegin(member)) return begin(member, { workload: 'stopping' }, hook('stop'))
    if (role.kind === 'primary') return goOn({ ...member, suspended: false })
    // Some of it may stand still: it is thawed.
    return returnToPrimary({ ...member, workload: 'frozen' }, event.why ?? 'the freeze hook failed')
  }
  const frozen: Member = { ...member, workload: 'frozen', exposed: false }
  return role.kind === 'handing-over' ? seal(frozen, role) : resume(frozen)
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
  if (role.kind === 'released') return fenced(member, persistGivenUp(member))
  // What a daemon that ends leaves behind is looked after when it comes back.
  if (role.kind === 'fenced') return role.ending ? fenced(member) : fenced(member, persistGivenUp(member))
  // Killed while it was being promoted.
  if (role.kind === 'promoting') return failPromotion(member, LATE)
  // Suspended, or restarted under a running workload: stopped instead of frozen.
  return resume(member)
}

/** The lease may have come while it was being stopped; one without an end does not come again. */
const resume = (member: Member): MemberStep =>
  member.role.kind === 'primary' && member.suspended ? goOn({ ...member, suspended: false }) : stay(member)
