import { messageOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { runServices, type Service } from '@understudy/shared/core/service'
import { between, type Clock, everyPeriod, millis, seconds } from '@understudy/shared/core/time'
import { type GroupMember, nextLook } from '@understudy/shared/failover/group'
import { mayRemove } from '@understudy/shared/failover/group-removal'
import type { Logger } from 'pino'
import { type Cloud, hasEnded } from '../cloud/cloud.ts'
import type { FleetStore } from '../fleet/fleet.ts'
import type { Departures } from './departures.ts'
import type { LateLaunches } from './late-launches.ts'
import type { PresenceBook } from './presence.ts'
import type { Entry, Registry } from './registry.ts'

const TICK = millis(50)
const FLUSH = seconds(5)
const SWEEP = seconds(2)
/** How long an instance that nobody hears is left before the cloud is asked about it. */
const UNHEARD_FOR = seconds(3)

/** What has to be looked at again and again: clocks, instances that have ended, machines that cost money for nothing. */
export function createHousekeeping(parts: {
  readonly registry: Registry
  readonly presence: PresenceBook
  readonly fleet: FleetStore
  readonly departures: Departures
  readonly launches: LateLaunches
  readonly cloud: Cloud
  readonly clock: Clock
  readonly log: Logger
  readonly onWanted: (entry: Entry) => Promise<void>
  /** What a notice that waits for a replica comes to. */
  readonly onWaiting: (entry: Entry) => void
}): Service {
  const { registry, presence, fleet, departures, launches, cloud, clock, log, onWanted, onWaiting } = parts
  const asked = () => AbortSignal.timeout(5000)

  /** A promise that ends before the next tick is not waited for any longer than it lasts. */
  function tick({ runner }: Entry, signal: AbortSignal): void {
    runner.dispatch({ kind: 'tick' })
    const now = clock.mono()
    const next = nextLook(runner.group, now)
    if (next === undefined || between(now, next) >= TICK) return
    clock.timer(between(now, next), () => {
      if (!signal.aborted) runner.dispatch({ kind: 'tick' })
    })
  }

  async function sweep(entry: Entry): Promise<void> {
    const now = clock.mono()
    for (const [instance, at] of entry.dying) if (now >= at) await tried('end', entry, end(entry, instance))
    for (const member of entry.runner.group.members.values())
      if (isUnheard(entry, member)) await tried('look up', entry, lookUp(entry, member))
    await tried('launches', entry, launches.look(entry))
    if (entry.wanted && now >= entry.wanted.tryAt) await onWanted(entry)
    onWaiting(entry)
  }

  /** A standby that has said nothing for a while, and is not forgotten already; the primary's silence is the group's own business. */
  const isUnheard = ({ runner }: Entry, { instance, connected, heardAt, left, gone }: GroupMember): boolean =>
    !(left && gone) &&
    instance !== runner.group.primary &&
    !connected &&
    between(heardAt, clock.mono()) > UNHEARD_FOR

  /** Ends a machine that has been replaced, unless it is about to stand in for the one that has taken its place. */
  async function end(entry: Entry, instance: InstanceId): Promise<void> {
    const { group } = entry.runner
    if (instance === group.primary) return void entry.dying.delete(instance)
    if (mayRemove(group, instance, clock.mono()) !== undefined) return
    await cloud.terminate(instance, asked())
    log.info({ event: 'instance.terminated', agent: entry.agentId, instance })
    await departures.forget(entry, instance, undefined)
    entry.dying.delete(instance)
  }

  async function lookUp(entry: Entry, { instance, gone }: GroupMember): Promise<void> {
    const described = gone ? undefined : await cloud.describe(instance, asked())
    const ended = described ? hasEnded(described) : gone || cloud.kind === 'simulated'
    if (ended) await departures.forget(entry, instance, 'its instance has ended')
  }

  /** What does not work is tried again with the next sweep, and holds up nothing else. */
  const tried = (what: string, { agentId }: Entry, task: Promise<void>): Promise<void> =>
    task.catch((error: unknown) =>
      log.warn({ event: 'housekeeping.failed', what, agent: agentId, why: messageOf(error) }),
    )

  const sweepAll = async (): Promise<void> => {
    for (const entry of registry.entries()) await tried('sweep', entry, sweep(entry))
  }

  const services: Service[] = [
    {
      name: 'tick',
      run: (signal) =>
        everyPeriod(clock, TICK, signal, async () => {
          // What has come while this process stood still is heard before anybody is taken for silent.
          await new Promise(setImmediate)
          for (const entry of registry.entries()) tick(entry, signal)
        }),
    },
    { name: 'sweep', run: (signal) => everyPeriod(clock, SWEEP, signal, sweepAll) },
    {
      name: 'flush',
      run: async (signal) => {
        await everyPeriod(clock, FLUSH, signal, flush)
        await flush()
      },
    },
  ]

  async function flush(): Promise<void> {
    await fleet
      .flushHeartbeats(presence.takeSeen())
      .catch((error: unknown) =>
        log.warn({ event: 'housekeeping.failed', what: 'flush', why: messageOf(error) }),
      )
  }

  return { name: 'failover-housekeeping', run: (signal) => runServices(services, signal) }
}
