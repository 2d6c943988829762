import { mayRun } from '../../failover/member.ts'
import { clockOf, on, setRunning } from './instance.ts'
import type { Instance, World } from './world-parts.ts'

/** Who looks at the clock: the agent itself, and the guard beside it. */

/** The daemon looks at its clock when its lease says that it must. */
export function scheduleTick(world: World, instance: Instance): void {
  const { lease, policy, exposed, role } = instance.member
  if (lease.kind !== 'until' || (!exposed && role.kind !== 'promoting')) return
  const now = clockOf(world, instance)
  const first = lease.at - policy.fenceBudget
  const last = lease.at - policy.fenceBudget / 2
  const next = now < first ? first : now < last ? last : now + 20
  const at = world.queue.now + Math.max(0.01, (next - now) / instance.rate)
  // One timer is enough: it looks again when the lease was renewed meanwhile.
  if (at >= instance.tickAt - 0.001 && instance.tickAt > world.queue.now) return
  instance.tickAt = at
  const { life } = instance
  world.queue.at(at, () =>
    on(instance, () => {
      if (instance.life !== life || instance.tickAt !== at) return
      instance.tickAt = Number.POSITIVE_INFINITY
      world.toMember(instance, { kind: 'tick' })
    }),
  )
}

/** The guard is told the end of each lease, on a clock that goes on while the machine stands still. */
export function armGuard(world: World, instance: Instance): void {
  const { lease, exposed } = instance.member
  if (!exposed || lease.kind !== 'until') {
    instance.guardAt = undefined
    return
  }
  const at = world.queue.now + (lease.at - clockOf(world, instance)) / instance.rate
  const isLater = instance.guardAt !== undefined
  instance.guardAt = at
  if (!isLater) watch(world, instance)
}

function watch(world: World, instance: Instance): void {
  const { guardAt } = instance
  if (guardAt === undefined) return
  world.queue.at(Math.max(guardAt, world.queue.now + 1), () => {
    if (instance.guardAt === undefined || instance.gone) return
    if (instance.guardAt > world.queue.now + 0.001) return watch(world, instance)
    if (instance.asleep === 'machine')
      return world.queue.at(world.queue.now + 5, () => watch(world, instance))
    guardKills(world, instance)
  })
}

export function guardKills(world: World, instance: Instance): void {
  instance.guardAt = undefined
  if (!instance.running || world.sabotage === 'clock-stops') return
  world.hit('guard kills')
  world.note(`${instance.id}: the guard ends the workload`)
  setRunning(world, instance, false)
  const { life } = instance
  // What was killed does nothing any more, though it may take its time to end.
  const left = world.random() < 0.1
  if (left) world.hit('guard leaves some')
  on(instance, () => instance.life === life && world.toMember(instance, { kind: 'killed', left }))
}

/** Its lease would have let it go on no longer, as it stands. */
export const isLate = (world: World, instance: Instance): boolean =>
  instance.running &&
  (instance.guardAt !== undefined
    ? instance.guardAt <= world.queue.now
    : !mayRun(instance.member, clockOf(world, instance)))
