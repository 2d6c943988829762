import { newMember } from '../../failover/member.ts'
import { startVoter } from '../../failover/voter.ts'
import { guardKills, isLate } from './guard.ts'
import { clockOf, on } from './instance.ts'
import type { Links } from './links.ts'
import { beat } from './votes.ts'
import type { Instance, World } from './world-parts.ts'

/** How instances and agents end, stand still, and come back. */

/** The agent process is gone; its guard ends the workload at once. Somebody starts the agent again. */
export function killAgent(world: World, links: Links, instance: Instance, why: string): void {
  if (!instance.up) return
  world.note(`${instance.id}: the agent ends ${why}`)
  const wasLate = instance.late || isLate(world, instance)
  end(links, instance)
  instance.late = wasLate
  const { life } = instance
  world.queue.at(world.queue.now + world.random() * 40, () => {
    if (instance.life === life && !instance.gone && instance.asleep !== 'machine') {
      guardKills(world, instance)
      instance.running = false
    }
  })
  comeBack(world, links, instance, 100 + world.random() * 2500)
}

/** Machine and all: nothing runs any more. */
export function reboot(world: World, links: Links, instance: Instance): void {
  if (!instance.up) return
  world.note(`${instance.id} reboots`)
  end(links, instance)
  instance.running = false
  comeBack(world, links, instance, 300 + world.random() * 3000)
}

function end(links: Links, instance: Instance): void {
  instance.up = false
  instance.asleep = undefined
  instance.late = false
  instance.inbox = []
  instance.life += 1
  instance.crashArmed = false
  instance.writingUntil = 0
  instance.following = undefined
  instance.outbox = []
  links.drop(instance)
  instance.linked = false
}

function comeBack(world: World, links: Links, instance: Instance, after: number): void {
  const { queue, policy } = world
  const { life } = instance
  queue.at(queue.now + after, () => {
    if (instance.gone || instance.life !== life) return
    instance.up = true
    instance.running = false
    instance.session += 1
    instance.lease = { kind: 'none' }
    instance.tickAt = Number.POSITIVE_INFINITY
    instance.guardAt = undefined
    instance.voter = startVoter(instance.id, instance.disk.record, policy, clockOf(world, instance))
    instance.member = { ...newMember(policy), turn: instance.member.turn + 1 }
    // What the role has kept: its voter may have voted in a later epoch, which came to nothing.
    const { epoch, active } = instance.disk
    world.toMember(instance, { kind: 'booted', epoch, active })
    queue.at(queue.now + 50, () => on(instance, () => links.open(instance)))
  })
}

export function endInstance(world: World, links: Links, instance: Instance, why: string): void {
  if (instance.gone) return
  world.note(`${instance.id} is gone: ${why}`)
  end(links, instance)
  instance.gone = true
  instance.running = false
}

/** Nothing of the machine goes on; `stopsClock`: its monotonic clock does not either, as in a suspended guest. */
export function pauseMachine(world: World, instance: Instance, length: number, stopsClock: boolean): void {
  if (!instance.up || instance.asleep) return
  world.note(`${instance.id} stands still for ${length.toFixed(0)} ms${stopsClock ? ', with its clock' : ''}`)
  instance.asleep = 'machine'
  world.queue.at(world.queue.now + length, () => {
    if (instance.asleep !== 'machine') return
    if (stopsClock) {
      instance.offset -= length * instance.rate
      world.hit('tilt')
    }
    instance.late = isLate(world, instance) && world.sabotage !== 'clock-stops'
    wake(world, instance, stopsClock && world.sabotage !== 'clock-stops')
  })
}

/** Only the agent stands still: its workload goes on, until the guard ends it. */
export function pauseAgent(world: World, instance: Instance, length: number): void {
  if (!instance.up || instance.asleep) return
  world.note(`${instance.id}: the agent stands still for ${length.toFixed(0)} ms`)
  instance.asleep = 'agent'
  world.queue.at(world.queue.now + length, () => {
    if (instance.asleep === 'agent') wake(world, instance, false)
  })
}

function wake(world: World, instance: Instance, inDoubt: boolean): void {
  instance.asleep = undefined
  world.changed()
  if (!instance.up) return
  // Timers fire first: the agent looks at its clocks before it reads what came in.
  world.toMember(instance, { kind: 'tick' })
  if (inDoubt) world.tilt(instance)
  world.leased(instance)
  beat(world, instance)
  for (const run of instance.inbox.splice(0)) run()
}
