import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { type Clock, plus, seconds } from '@understudy/shared/core/time'
import type { FleetStore } from '../fleet/fleet.ts'
import type { Flight } from './flight.ts'
import type { Entry, Registry } from './registry.ts'

/** An old primary is left this long beyond its deadline before it is ended by us. */
const AFTER_DEADLINE = seconds(30)
/** An old primary that moved by hand has this long to say that it has stopped. */
const AFTER_MOVE = seconds(10)

/** Says when the instances of former primaries are ended; housekeeping ends them. */
export interface OldPrimaries {
  onClosed(agentId: AgentId, flight: Flight, outcome: 'promoted' | 'relaunched' | 'failed'): void
  /** It has stopped, so there is nothing to wait for any more, unless AWS ends it anyway. */
  onFenced(entry: Entry, instance: InstanceId): void
}

export function createOldPrimaries(parts: {
  readonly registry: Pick<Registry, 'find'>
  readonly fleet: Pick<FleetStore, 'mustAgent'>
  readonly clock: Clock
}): OldPrimaries {
  const { registry, fleet, clock } = parts

  async function endAfterMove(entry: Entry, instance: InstanceId): Promise<void> {
    const agent = await fleet.mustAgent(entry.agentId)
    if (agent.terminate_after_switch === 1) entry.dying.set(instance, plus(clock.mono(), AFTER_MOVE))
  }

  return {
    onClosed(agentId, { incident }, outcome) {
      const entry = registry.find(agentId)
      if (!entry || outcome === 'failed' || incident.keepOld) return
      if (incident.trigger === 'notice')
        entry.dying.set(incident.instance, plus(incident.by ?? clock.mono(), AFTER_DEADLINE))
      else void endAfterMove(entry, incident.instance)
    },
    onFenced(entry, instance) {
      const at = entry.dying.get(instance)
      const member = entry.runner.group.members.get(instance)
      if (at !== undefined && member?.noticedBy === undefined) entry.dying.set(instance, clock.mono())
    },
  }
}
