import { type Random, seededRandom } from '../../core/random.ts'
import { COORDINATOR, type VoterId } from '../../failover/certificate.ts'
import { endInstance, killAgent, pauseAgent, pauseMachine, reboot } from './endings.ts'
import { noticeEvent, on, report } from './instance.ts'
import type { Links } from './links.ts'
import { FAULT_KINDS, type Fault, type FaultKind } from './options.ts'
import type { Instance, World } from './world-parts.ts'

/** How often each comes, beside the others. */
const WEIGHTS: Readonly<Record<FaultKind, number>> = {
  'pause-machine': 8,
  'pause-agent': 8,
  'stop-clock': 4,
  'kill-agent': 8,
  reboot: 6,
  'end-instance': 4,
  'cut-instance': 6,
  'cut-pair': 6,
  'cut-one-way': 6,
  'cut-coordinator-link': 8,
  'drop-session': 4,
  'slow-disk': 4,
  notice: 9,
  'notice-withdrawn': 2,
  'planned-move': 30,
  'coordinator-restart': 5,
  'coordinator-pause': 4,
  'coordinator-crash-at-vote': 4,
  'coordinator-crash-after-vote': 4,
  'coordinator-restored': 2,
  'crash-at-effect': 6,
  'replica-unready': 4,
  backup: 3,
  // By policies of a schedule that has some.
  rebalance: 0,
}
const TOTAL = FAULT_KINDS.reduce((sum, kind) => sum + WEIGHTS[kind], 0)

/** The faults of one seed, in order of time, drawn before anything else so that one can be left out. */
export function drawFaults(seed: number, duration: number): readonly Fault[] {
  const random = seededRandom(seed ^ 0x5eed)
  const pace = 200 + random() * 1000
  const faults: Fault[] = []
  for (let at = 2000 + random() * 1500; at < duration; at += random() * 2 * pace)
    faults.push({ at, kind: drawKind(random), who: random(), size: random() })
  return faults
}

function drawKind(random: Random): FaultKind {
  let left = random() * TOTAL
  for (const kind of FAULT_KINDS) {
    left -= WEIGHTS[kind]
    if (left < 0) return kind
  }
  return 'notice'
}

/** Whom it hits. The primary is where it hurts: it is picked as often as all others together. */
function picked(alive: readonly Instance[], { who, target }: Fault): Instance | undefined {
  const primary = alive.find(({ member }) => member.role.kind === 'primary')
  if (target === 'successor') {
    const successor = primary?.voter.record.certificate?.proposal.successor
    return alive.find(({ id }) => id === successor)
  }
  if (target === 'primary') return primary
  return who < 0.5 && primary ? primary : pickBy(alive, who * 7919)
}

const pickBy = (alive: readonly Instance[], number: number): Instance | undefined =>
  alive[Math.floor((number % 1) * alive.length)]

/** The other end of a cut. */
function otherEnd(alive: readonly Instance[], one: Instance, { size, target }: Fault): Instance | undefined {
  if (target === undefined) return pickBy(alive, size * 6151)
  const { primary, successor } = one.voter.record.certificate?.proposal ?? {}
  return alive.find(({ id }) => id !== one.id && (id === primary || id === successor))
}

export function applyFault(world: World, links: Links, fault: Fault): void {
  const { kind, size } = fault
  const alive = [...world.instances.values()].filter(({ gone }) => !gone)
  const instance = picked(alive, fault)
  if (!instance) return
  const { now } = world.queue
  switch (kind) {
    case 'pause-machine':
      return pauseMachine(world, instance, size * 4000, false)
    case 'stop-clock':
      return pauseMachine(world, instance, 200 + size * 3000, true)
    case 'pause-agent':
      return pauseAgent(world, instance, size * 4000)
    case 'kill-agent':
      return killAgent(world, links, instance, 'by SIGKILL')
    case 'reboot':
      return reboot(world, links, instance)
    case 'end-instance':
      return endInstance(world, links, instance, 'taken without notice')
    case 'cut-instance':
      for (const other of [COORDINATOR, ...alive.map(({ id }) => id)] as VoterId[])
        world.network.cut(instance.id, other, now + size * 4000, false)
      return drop(world, links, instance, size)
    case 'cut-pair':
    case 'cut-one-way': {
      const other = otherEnd(alive, instance, fault)
      if (other && other !== instance)
        world.network.cut(instance.id, other.id, now + size * 4000, kind === 'cut-one-way')
      return
    }
    case 'cut-coordinator-link':
      world.network.cut(instance.id, COORDINATOR, now + size * 5000, (size * 100) % 1 < 0.3)
      return drop(world, links, instance, size)
    case 'drop-session':
      return links.drop(instance)
    case 'slow-disk':
      instance.slowDiskUntil = now + size * 4000
      return
    case 'notice':
      return notice(world, links, instance, size)
    case 'notice-withdrawn':
      return on(instance, () => {
        if (instance.noticed) report(world, instance, { kind: 'notice-withdrawn', instance: instance.id })
      })
    case 'planned-move':
      return world.center.planned()
    case 'coordinator-restart':
      return world.center.restart(size * 5000)
    case 'coordinator-pause':
      return world.center.pause(size * 3000)
    case 'coordinator-crash-at-vote':
      return world.center.armCrash('before')
    case 'coordinator-crash-after-vote':
      return world.center.armCrash('after')
    case 'coordinator-restored':
      return world.center.restart(size * 2000, true)
    case 'backup':
      return world.center.takeBackup()
    case 'crash-at-effect':
      instance.crashArmed = true
      return
    case 'rebalance':
      return recommend(world, links, instance, size)
    case 'replica-unready':
      instance.catchUp = 0
      return
  }
}

/** Sometimes both ends hear of a cut at once, sometimes much later, sometimes never. */
function drop(world: World, links: Links, instance: Instance, size: number): void {
  if ((size * 1000) % 1 < 0.5) world.queue.at(world.queue.now + size * 2000, () => links.drop(instance))
  world.queue.at(world.queue.now + size * 5000, () => links.drop(instance))
}

/** Two in five are followed by a notice. */
function recommend(world: World, links: Links, instance: Instance, size: number): void {
  const { now } = world.queue
  world.note(`AWS recommends to leave ${instance.id}`)
  world.queue.at(now + ((size * 331) % 200), () => world.deputy?.recommend(instance, size))
  if ((size * 7919) % 1 < 0.4)
    world.queue.at(now + ((size * 6151) % 1) * 2500, () => notice(world, links, instance, size))
}

/** With a lead of none to twelve seconds; in the end the instance is gone. With nobody to report it to, it moves by itself. */
function notice(world: World, links: Links, instance: Instance, size: number): void {
  if (instance.noticed) return
  instance.noticed = true
  const left = size < 0.15 ? 0 : size * 12_000
  world.note(`${instance.id} gets a notice, ${left.toFixed(0)} ms left`)
  on(instance, () => {
    report(world, instance, noticeEvent(instance, left))
    world.moveByItself(instance, left)
  })
  world.queue.at(world.queue.now + left, () => endInstance(world, links, instance, 'its notice ran out'))
}
