import type { GroupEvent } from '../../failover/group.ts'
import { clockOf, on } from './instance.ts'
import type { Instance, World } from './world-parts.ts'

/** The link of each instance to the coordinator: in order, broken now and then, and opened again. */
export interface Links {
  open(instance: Instance): void
  drop(instance: Instance): void
  up(instance: Instance, event: GroupEvent, reportId?: number): void
  down(instance: Instance, deliver: () => void): void
}

export function createLinks(world: World): Links {
  const { queue, random, network } = world
  const lastArrival = { '>': new Map<Instance, number>(), '<': new Map<Instance, number>() }

  function travel(instance: Instance, way: '>' | '<', deliver: () => void): void {
    const { session } = instance
    const slow = random() < 0.04 ? random() * 800 : random() * 15
    const at = Math.max(queue.now + 1 + slow, (lastArrival[way].get(instance) ?? 0) + 0.01)
    lastArrival[way].set(instance, at)
    queue.at(at, () => {
      if (instance.session === session && !isCut(instance)) deliver()
    })
  }

  const isCut = ({ id }: Instance): boolean =>
    network.isCut(id, 'coordinator') || network.isCut('coordinator', id)

  function open(instance: Instance): void {
    const { life } = instance
    queue.at(queue.now + 1 + random() * 20, () => {
      if (!instance.up || instance.linked || instance.life !== life) return
      if (!world.center.up || isCut(instance)) return retry(instance)
      instance.linked = true
      instance.session += 1
      greet(instance)
    })
  }

  const retry = (instance: Instance) => {
    const { life } = instance
    queue.at(queue.now + 100 + random() * 300, () =>
      on(instance, () => instance.life === life && open(instance)),
    )
  }

  function greet(instance: Instance): void {
    const { member, voter } = instance
    up(instance, {
      kind: 'connected',
      instance: instance.id,
      role: member.role.kind,
      epoch: member.epoch,
      sentAt: clockOf(world, instance),
      key: `key of ${instance.id}`,
      chain: voter.record.chain,
      voted: voter.record.voted.epoch,
      resigned: voter.record.resigned,
    })
    for (const { id, event } of instance.outbox) up(instance, event, id)
    world.sayCopy(instance)
  }

  function up(instance: Instance, event: GroupEvent, reportId?: number): void {
    if (!instance.linked) return
    travel(instance, '>', () => {
      if (!world.center.up) return
      if (reportId !== undefined)
        travel(instance, '<', () => {
          instance.outbox = instance.outbox.filter(({ id }) => id !== reportId)
        })
      world.center.dispatch(event)
    })
  }

  return {
    open,
    up,
    drop(instance) {
      if (!instance.linked) return
      instance.linked = false
      instance.session += 1
      const { session, life } = instance
      queue.at(queue.now + random() * 300, () =>
        on(instance, () => instance.session === session && instance.life === life && open(instance)),
      )
      // The end of a connection that another has followed says nothing.
      if (world.center.up)
        queue.at(
          queue.now + random() * 300,
          () =>
            (!instance.linked || instance.session === session) &&
            world.center.dispatch({ kind: 'disconnected', instance: instance.id }),
        )
    },
    down(instance, deliver) {
      if (instance.linked) travel(instance, '<', deliver)
    },
  }
}
