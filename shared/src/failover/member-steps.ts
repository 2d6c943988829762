import type { IncidentId } from '../core/ids.ts'
import type { Mono } from '../core/time.ts'
import type { Hook, Member, MemberEffect, MemberReport, MemberStep } from './member-types.ts'

/** What the handlers of events are made of. */

/** True while the workload may be exposed. */
export const mayRun = ({ lease }: Member, now: Mono): boolean =>
  lease.kind === 'solo' || (lease.kind === 'until' && now < lease.at)

/** Enough of the lease is left to begin something that exposes the workload. */
export const mayBegin = ({ lease, at, policy }: Member): boolean =>
  lease.kind === 'solo' || (lease.kind === 'until' && at < lease.at - policy.fenceBudget)

/** The state directories do not change. */
export const isQuiet = (member: Member): boolean =>
  member.workload === 'frozen' || member.workload === 'stopped'

/** It is being held still, or ended. */
export const inTransition = ({ workload }: Member): boolean =>
  workload === 'freezing' || workload === 'stopping' || workload === 'killing'

/** In office with a workload that runs. */
export const taken = (member: Member, ...before: MemberEffect[]): MemberStep => ({
  member: { ...member, role: { kind: 'primary' }, workload: 'running', incident: undefined },
  effects: [
    ...before,
    { kind: 'serve', term: member.term },
    report({ kind: 'promoted', epoch: member.epoch, ...withIncident(member.incident) }),
  ],
})

/** It has the workload, or is about to have it. */
export const owns = ({ role }: Member): boolean =>
  role.kind === 'primary' || role.kind === 'promoting' || role.kind === 'handing-over'

export const stay = (member: Member, ...effects: MemberEffect[]): MemberStep => ({ member, effects })

/** The next operation: it gets a turn of its own, so that the end of an earlier one is told apart. */
export const begin = (
  member: Member,
  patch: Partial<Member>,
  effect: (turn: number) => MemberEffect,
  ...before: MemberEffect[]
): MemberStep => {
  const turn = member.turn + 1
  return { member: { ...member, ...patch, turn }, effects: [...before, effect(turn)] }
}

export const hook =
  (name: Hook) =>
  (turn: number): MemberEffect => ({ kind: 'hook', hook: name, turn })

export const kill = (turn: number): MemberEffect => ({ kind: 'kill', turn })

export const report = (body: MemberReport): MemberEffect => ({ kind: 'report', report: body })

export const persist = (epoch: number, active: boolean): MemberEffect => ({ kind: 'persist', epoch, active })

export const withIncident = (incident: IncidentId | undefined) => (incident ? { incident } : {})
