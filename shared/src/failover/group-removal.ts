import type { InstanceId } from '../core/ids.ts'
import { formatMillis, type Mono } from '../core/time.ts'
import { silenceOf } from './group-orders.ts'
import type { Group, Phase } from './group-types.ts'

/**
 * Why an instance cannot be taken out of its group and ended now, in one sentence; undefined when it can. Who is being
 * elected, or is the only one that can be, has the state that is needed.
 */
export function mayRemove(group: Group, instance: InstanceId, now: Mono): string | undefined {
  const { primary, certificate, members, phase, policy } = group
  if (instance === primary) return `${instance} is the primary`
  if (isNext(phase, instance)) return `${instance} is about to become primary`
  const isHeir = certificate?.proposal.successor === instance && members.get(instance)?.connected === true
  const silence = silenceOf(group, now)
  if (isHeir && silence > policy.lease / 2)
    return `nothing was heard from the primary ${primary} for ${formatMillis(silence)}, and ${instance} is to take its place`
  return undefined
}

function isNext(phase: Phase, instance: InstanceId): boolean {
  if ('target' in phase) return phase.target === instance
  if (!('change' in phase)) return false
  const { proposal, then } = phase.change
  return then.kind === 'hand-over' ? then.target === instance : proposal.primary === instance
}
