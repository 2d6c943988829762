import type { InstanceId } from '../core/ids.ts'
import { between, millis, plus } from '../core/time.ts'
import { considerNotice, failed, giveUpHandOver, replaceLost, thenPromote } from './group-change.ts'
import { elect } from './group-election.ts'
import { after, leadTo, quiet } from './group-orders.ts'
import type { Group, GroupContext, GroupStep, OpenChange } from './group-types.ts'

/** What becomes of a group when a change is given up. */

/** A change of successor that did not come about is tried again after this. */
const SUCCESSION_AGAIN = millis(1000)

/** Nobody has ever been primary: whoever is here is the first, or who comes next. */
function beginAgain(group: Group, before: InstanceId, context: GroupContext): GroupStep {
  const vacant: Group = { ...group, phase: { kind: 'vacant' } }
  const here = [...group.members.values()].filter(({ connected, gone }) => connected && !gone)
  const first = here.find(({ instance }) => instance === before) ?? here[0]
  return (first && elect(vacant, first.instance, thenPromote(undefined), context)) ?? quiet(vacant)
}

/** A change that could not get its votes. */
export function abandon(group: Group, { proposal, then }: OpenChange, context: GroupContext): GroupStep {
  const { now } = context
  if (!group.certificate) return beginAgain(group, proposal.primary, context)
  const steady: Group = { ...group, phase: { kind: 'steady' }, successionFrom: plus(now, SUCCESSION_AGAIN) }
  const primary = group.primary === undefined ? undefined : group.members.get(group.primary)
  const isHeard = primary !== undefined && !primary.gone && between(primary.heardAt, now) < group.policy.lease
  switch (then.kind) {
    case 'steady':
      return considerNotice(steady, context)
    case 'hand-over':
      if (isHeard)
        return giveUpHandOver(steady, then, 'the primary did not agree to the change of successor', context)
      return replaceLost({ ...steady, waiting: then.incident }, context)
    case 'promote': {
      const { incident, attempt } = then
      if (proposal.primary === group.primary) {
        if (!isHeard) return replaceLost({ ...steady, waiting: incident }, context)
        return failed(
          { ...steady, waiting: incident },
          proposal.primary,
          'its vote did not come',
          attempt + 1,
          now,
        )
      }
      if (incident && isHeard && primary.resigned < group.epoch) {
        const why = `${proposal.primary} did not take over: ${group.primary} is heard again`
        const closed = { kind: 'incident-closed' as const, incident, outcome: 'failed' as const, why }
        // That it was up may have come while another was voted on.
        const led = group.wasUp ? leadTo(steady, primary.instance) : []
        return after([...led, closed], considerNotice(steady, context))
      }
      return replaceLost({ ...steady, waiting: incident }, context)
    }
  }
}
