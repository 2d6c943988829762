import { between, type Clock, minutes } from '@understudy/shared/core/time'
import { type Cloud, hasEnded } from '../cloud/cloud.ts'
import type { ReplicaRow } from '../storage/database.ts'
import type { Departures } from './departures.ts'
import { type Entry, instanceOrNone } from './registry.ts'
import type { ReplicaStore } from './replica-store.ts'

/** How long a launched instance may take until it joins. */
const JOIN_WITHIN = minutes(15)
const CALL_TIMEOUT = 5000

/** Instances that were launched and have not joined: one that never will is given up, and another one is wanted. */
export interface LateLaunches {
  look(entry: Entry): Promise<void>
}

export function createLateLaunches(parts: {
  readonly replicas: Pick<ReplicaStore, 'setStatus'>
  readonly departures: Pick<Departures, 'forget'>
  readonly cloud: Pick<Cloud, 'kind' | 'canLaunch' | 'describe' | 'terminate'>
  readonly clock: Clock
}): LateLaunches {
  const { replicas, departures, cloud, clock } = parts
  const started = clock.mono()
  const asked = () => AbortSignal.timeout(CALL_TIMEOUT)

  const isMember = ({ runner }: Entry, row: ReplicaRow): boolean => {
    const instance = instanceOrNone(row.instance_id)
    return instance !== undefined && runner.group.members.has(instance)
  }

  /** Of members housekeeping sees to it that they are heard. */
  async function hasEndedBefore(entry: Entry, row: ReplicaRow): Promise<boolean> {
    const instance = instanceOrNone(row.instance_id)
    if (instance === undefined || isMember(entry, row)) return false
    const described = await cloud.describe(instance, asked())
    return described ? hasEnded(described) : cloud.kind === 'simulated'
  }

  /** Nobody could join while there was no coordinator; and a wall clock that was set forward has launched nothing earlier. */
  const waitedFor = (row: ReplicaRow): number =>
    Math.min(clock.now() - row.created_at, between(started, clock.mono()))

  async function whyGivenUp(entry: Entry, row: ReplicaRow): Promise<string | undefined> {
    if (waitedFor(row) > JOIN_WITHIN) return `it did not join within ${JOIN_WITHIN / 60_000} minutes`
    return (await hasEndedBefore(entry, row)) ? 'its instance ended before it joined' : undefined
  }

  async function giveUp(entry: Entry, row: ReplicaRow, why: string): Promise<void> {
    // That a member is lost, the group hears, and says itself what is wanted.
    const mustReplace = cloud.canLaunch && !isMember(entry, row) && isAutomatic(entry, row)
    const instance = instanceOrNone(row.instance_id)
    if (instance === undefined) {
      entry.replicas.delete(row.id)
      await replicas.setStatus(row, 'failed', why)
    } else {
      await cloud.terminate(instance, asked())
      await departures.forget(entry, instance, why)
    }
    const now = clock.mono()
    if (mustReplace) entry.wanted ??= { why: 'lost', since: now, tryAt: now }
  }

  return {
    async look(entry) {
      for (const row of [...entry.replicas.values()]) {
        if (row.status !== 'launching') continue
        const why = await whyGivenUp(entry, row)
        if (why !== undefined) await giveUp(entry, row, why)
      }
    },
  }
}

/** Nobody has asked for it by hand, or the workload waits for any instance that it can start on. */
const isAutomatic = ({ runner }: Entry, { type }: ReplicaRow): boolean =>
  type !== 'manual' || runner.group.phase.kind === 'relaunching'
