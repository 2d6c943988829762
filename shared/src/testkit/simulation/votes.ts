import { COORDINATOR, type VoterId } from '../../failover/certificate.ts'
import { owns } from '../../failover/member.ts'
import {
  inOffice,
  leaseOf,
  stepVoter,
  type Voter,
  type VoterEffect,
  type VoterEvent,
  type VoterMessage,
  type VoterRecord,
} from '../../failover/voter.ts'
import { clockOf, on, report } from './instance.ts'
import { sabotageEvent, sabotageVoter } from './sabotage.ts'
import type { Instance, World } from './world-parts.ts'

/** The voter of an instance, and its disk. */

export function toVoter(world: World, instance: Instance, event: VoterEvent): void {
  if (!instance.up) return
  sabotageVoter(world, instance, event)
  const step = stepVoter(instance.voter, sabotageEvent(world, instance, event), {
    now: clockOf(world, instance),
    sign: () => 'signed',
    digest: world.digest,
  })
  const before = instance.voter
  instance.voter = step.voter
  cover(world, before, step.voter, event)
  for (const effect of step.effects) {
    if (effect.kind !== 'persist') perform(world, instance, effect)
    else if (write(world, instance, effect.record))
      instance.writingUntil = Math.max(instance.writingUntil, world.queue.now) + diskTime(world, instance)
    else return
  }
  tellLease(world, instance)
}

/** False when the agent ends over it, before or after. */
function write(world: World, instance: Instance, record: VoterRecord): boolean {
  const { judge, random, sabotage } = world
  const crashes = () => instance.crashArmed && random() < 0.5
  if (crashes()) {
    world.kill(instance, 'in the middle of a step')
    return false
  }
  judge.sawEpoch(`${instance.id} votes`, record.voted.epoch)
  if (record.certificate) judge.certified(record.certificate)
  if (sabotage !== 'vote-not-durable') instance.disk.record = record
  if (!crashes()) return true
  world.kill(instance, 'after a vote was written')
  return false
}

const diskTime = ({ queue, random }: World, { slowDiskUntil }: Instance): number =>
  slowDiskUntil > queue.now ? random() * 400 : random() * 2

function cover(world: World, before: Voter, after: Voter, event: VoterEvent): void {
  const { hit } = world
  if (event.kind === 'message') hit('message', event.message.kind)
  else hit('voter event', event.kind)
  if (before.record === after.record && before.candidate === after.candidate) return
  const state = stateOf(after)
  if (stateOf(before) !== state) hit('voter', `${stateOf(before)} -> ${state}`)
}

const stateOf = (voter: Voter): string => {
  const { certificate } = voter.record
  if (inOffice(voter)) return voter.record.pending ? 'in office, succession open' : 'in office'
  if (voter.candidate) return 'candidate'
  if (certificate?.proposal.primary === voter.self) return 'resigned'
  return certificate?.proposal.successor === voter.self ? 'successor' : 'learner'
}

function perform(world: World, instance: Instance, effect: VoterEffect): void {
  const { life, writingUntil: at } = instance
  const later = (run: () => void) => {
    if (at <= world.queue.now) return run()
    world.queue.at(at, () => on(instance, () => instance.life === life && run()))
  }
  switch (effect.kind) {
    case 'send':
      return later(() => sendVoter(world, instance.id, effect.to, effect.message))
    case 'broadcast':
      return later(() => {
        for (const peer of world.instances.values())
          if (peer !== instance && !peer.gone) sendVoter(world, instance.id, peer.id, effect.message)
      })
    case 'elected': {
      const { epoch, term } = effect.certificate.proposal
      world.hit('member event elected')
      const incident = effect.extras.incident ?? undefined
      return later(() => {
        tellLease(world, instance)
        world.toMember(instance, {
          kind: 'elected',
          epoch,
          term,
          fresh: effect.extras.fresh,
          incident,
          lease: leaseOf(instance.voter),
        })
      })
    }
    case 'advanced':
      return later(() =>
        world.toMember(instance, { kind: 'advanced', epoch: effect.certificate.proposal.epoch }),
      )
    case 'deposed':
      return later(() => {
        // As in the agent: who is a replica by now has nothing to stop.
        if (!owns(instance.member)) return
        const { epoch } = effect.certificate.proposal
        world.toMember(instance, { kind: 'order', order: { kind: 'fence', epoch } })
      })
    case 'certified':
      return later(() =>
        report(world, instance, {
          kind: 'voter',
          instance: instance.id,
          message: { kind: 'certificate', certificate: effect.certificate },
          extras: effect.extras,
        }),
      )
    case 'released':
      if (effect.vote)
        world.judge.released(effect.vote.proposal.epoch, effect.vote.proposal.primary, instance.data)
      return later(() => onReleased(world, instance, effect))
    case 'persist':
      return
  }
}

function onReleased(world: World, instance: Instance, effect: VoterEffect & { kind: 'released' }): void {
  instance.releaseVote = effect.vote
  const { turn, ok, why } = effect
  world.toMember(instance, { kind: 'released', turn, ok, why })
}

/** Whatever a voter says, on its way to another. */
export function sendVoter(world: World, from: VoterId, to: VoterId, message: VoterMessage): void {
  world.network.send(from, to, () => {
    if (to === COORDINATOR) {
      if (from !== COORDINATOR) world.center.onVoterMessage(from, message)
      return
    }
    const instance = world.instances.get(to)
    if (instance) on(instance, () => receive(world, instance, from, message))
  })
}

function receive(world: World, instance: Instance, from: VoterId, message: VoterMessage): void {
  if (message.kind === 'ask' && message.proposal.primary === instance.id && !message.proposal.forced) {
    const { successor, term, epoch } = message.proposal
    const isSuccession = term < epoch
    // From now on nothing is acknowledged to clients that it does not have.
    if (isSuccession && successor !== null && !world.hasEverything(instance, successor)) return
  }
  toVoter(world, instance, { kind: 'message', from, message })
}

/** The role is told what the voter may promise, and the guard until when. */
function tellLease(world: World, instance: Instance): void {
  const lease = leaseOf(instance.voter)
  const before = instance.lease
  if (
    lease.kind === before.kind &&
    (lease.kind !== 'until' || (before.kind === 'until' && before.at === lease.at))
  )
    return
  instance.lease = lease
  world.leased(instance)
  world.toMember(instance, { kind: 'lease', lease })
}

/** The voter's heartbeat; first a look at the clocks, as the product does. */
export function pulse(world: World, instance: Instance): void {
  const { queue, policy, random } = world
  queue.at(queue.now + policy.heartbeat * (0.95 + random() * 0.1), () => {
    if (instance.gone) return
    if (instance.up && !instance.asleep) beat(world, instance)
    pulse(world, instance)
  })
}

export function beat(world: World, instance: Instance): void {
  toVoter(world, instance, { kind: 'pulse' })
  const { voter } = instance
  const lostOffice =
    voter.record.certificate?.proposal.primary === instance.id && !inOffice(voter) && !world.center.up
  if (lostOffice && world.random() < 0.2) toVoter(world, instance, { kind: 'campaign' })
}
