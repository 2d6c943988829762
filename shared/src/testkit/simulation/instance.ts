import { type IncidentId, type InstanceId, incidentId } from '../../core/ids.ts'
import { type Mono, millis, mono } from '../../core/time.ts'
import type { GroupEvent } from '../../failover/group.ts'
import { newMember } from '../../failover/member.ts'
import { startVoter } from '../../failover/voter.ts'
import type { Instance, World } from './world-parts.ts'

export function createInstance(world: World, id: InstanceId, rate: number): Instance {
  const offset = world.random() * 1e6
  const instance: Instance = {
    id,
    rate,
    offset,
    voter: startVoter(id, undefined, world.policy, mono(world.queue.now * rate + offset)),
    member: newMember(world.policy),
    disk: { record: undefined, epoch: 0, active: false },
    data: 0,
    up: true,
    gone: false,
    asleep: undefined,
    running: false,
    late: false,
    inbox: [],
    life: 0,
    hook: 0,
    session: 0,
    linked: false,
    outbox: [],
    reportId: 0,
    following: undefined,
    catchUp: 0,
    whole: false,
    partial: false,
    told: false,
    noticed: false,
    slowDiskUntil: 0,
    writingUntil: 0,
    crashArmed: false,
    lease: { kind: 'none' },
    guardAt: undefined,
    tickAt: Number.POSITIVE_INFINITY,
    releaseVote: undefined,
  }
  return instance
}

export const clockOf = ({ queue }: World, { rate, offset }: Instance): Mono => mono(queue.now * rate + offset)

/** At once, when it wakes up, or never. */
export function on(instance: Instance, run: () => void): void {
  if (!instance.up) return
  if (instance.asleep) instance.inbox.push(run)
  else run()
}

/** Counts against every other that may be doing something. */
export const isActive = (instance: Instance): boolean =>
  instance.running && !instance.gone && !instance.late && instance.asleep !== 'machine'

export function setRunning(world: World, instance: Instance, running: boolean): void {
  instance.running = running
  if (!running) instance.late = false
  world.changed()
}

export function report(world: World, instance: Instance, event: GroupEvent): void {
  const id = ++instance.reportId
  instance.outbox.push({ id, event })
  world.toCenter(instance, event, id)
}

export const noticeEvent = (instance: Instance, left: number): GroupEvent => ({
  kind: 'notice',
  instance: instance.id,
  left: millis(left),
})

export const simulatedIncident = (number: number): IncidentId => incidentId(`incident-${number}`)
