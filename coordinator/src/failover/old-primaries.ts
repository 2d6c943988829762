import { messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { type Clock, plus, seconds } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { FleetStore } from '../fleet/fleet.ts'
import type { Flight } from './flight.ts'
import { AFTER_DEADLINE } from './left-to-end.ts'
import type { Entry, Registry } from './registry.ts'

/** What could not be read is read again after this long. */
const AGAIN = seconds(2)
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
  readonly log: Logger
}): OldPrimaries {
  const { registry, fleet, clock, log } = parts

  async function endAfterMove(entry: Entry, instance: InstanceId): Promise<void> {
    const agent = await fleet.mustAgent(entry.agentId)
    if (agent.terminate_after_switch === 1) entry.dying.set(instance, plus(clock.mono(), AFTER_MOVE))
  }

  function untilKnown(entry: Entry, instance: InstanceId): void {
    endAfterMove(entry, instance).catch((error: unknown) => {
      log.warn({ event: 'instance.not_terminated', agent: entry.agentId, instance, why: messageOf(error) })
      clock.timer(AGAIN, () => untilKnown(entry, instance))
    })
  }

  return {
    onClosed(agentId, { incident }, outcome) {
      const entry = registry.find(agentId)
      if (!entry || outcome === 'failed' || incident.keepOld) return
      if (incident.trigger === 'notice')
        entry.dying.set(incident.instance, plus(incident.by ?? clock.mono(), AFTER_DEADLINE))
      else untilKnown(entry, incident.instance)
    },
    onFenced(entry, instance) {
      const at = entry.dying.get(instance)
      const member = entry.runner.group.members.get(instance)
      if (at !== undefined && member?.noticedBy === undefined) entry.dying.set(instance, clock.mono())
    },
  }
}
