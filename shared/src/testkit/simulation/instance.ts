import { type IncidentId, type InstanceId, incidentId } from '../../core/ids.ts'
import type { Random } from '../../core/random.ts'
import { type Mono, millis, mono } from '../../core/time.ts'
import { COORDINATOR, type VoterId } from '../../failover/certificate.ts'
import type { GroupEvent } from '../../failover/group.ts'
import { mayRun, newMember, stepMember } from '../../failover/member.ts'
import type { Lease, Member, MemberEffect, MemberEvent, MemberReport } from '../../failover/member-types.ts'
import {
  type ElectionExtras,
  inOffice,
  leaseOf,
  startVoter,
  stepVoter,
  type Voter,
  type VoterEffect,
  type VoterEvent,
  type VoterMessage,
  type VoterRecord,
} from '../../failover/voter.ts'
import { sabotageEvent, sabotageVoter } from './sabotage.ts'
import type { World } from './world-parts.ts'

/** A report that the coordinator has not acknowledged. */
interface Waiting {
  readonly id: number
  readonly event: GroupEvent
}

/** One machine: agent, workload, guard and disk. Its state is a counter that the running workload counts up. */
export interface Instance {
  readonly id: InstanceId
  readonly rate: number
  offset: number
  voter: Voter
  member: Member
  /** What survives the end of the agent. */
  disk: { record: VoterRecord | undefined; epoch: number; active: boolean }
  data: number
  up: boolean
  gone: boolean
  asleep: 'agent' | 'machine' | undefined
  /** Processes of the workload may be doing something. */
  running: boolean
  /** They were stopped beyond the end of the lease, and the guard has not looked at its clock yet. */
  late: boolean
  inbox: (() => void)[]
  /** Grows whenever what was begun is void. */
  life: number
  hook: number
  /** The link to the coordinator, in order; a new number with each connection. */
  session: number
  linked: boolean
  outbox: Waiting[]
  reportId: number
  following: InstanceId | undefined
  catchUp: number
  /** It holds a whole copy of some moment. */
  whole: boolean
  told: boolean
  noticed: boolean
  slowDiskUntil: number
  /** Something bad happens at one of its next effects. */
  crashArmed: boolean
  lease: Lease
  /** True time at which the guard ends the workload; nothing while it is not armed. */
  guardAt: number | undefined
  tickAt: number
  sawTilt: boolean
}

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
    told: false,
    noticed: false,
    slowDiskUntil: 0,
    crashArmed: false,
    lease: { kind: 'none' },
    guardAt: undefined,
    tickAt: Number.POSITIVE_INFINITY,
    sawTilt: false,
  }
  pulse(world, instance)
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

export function toVoter(world: World, instance: Instance, event: VoterEvent): void {
  if (!instance.up) return
  const { sabotage, judge } = world
  sabotageVoter(world, instance, event)
  const step = stepVoter(instance.voter, sabotageEvent(world, instance, event), {
    now: clockOf(world, instance),
    sign: () => 'signed',
    digest: world.digest,
  })
  const before = instance.voter
  instance.voter = step.voter
  cover(world, before, step.voter, event)
  let delay = 0
  for (const effect of step.effects) {
    if (effect.kind === 'persist' && instance.crashArmed && world.random() < 0.5)
      return world.kill(instance, 'in the middle of a step')
    if (effect.kind === 'persist') {
      judge.sawEpoch(`${instance.id} votes`, effect.record.voted.epoch)
      if (effect.record.certificate) judge.certified(effect.record.certificate)
      if (sabotage !== 'vote-not-durable') instance.disk.record = effect.record
      const slow = instance.slowDiskUntil > world.queue.now
      delay += slow ? world.random() * 400 : world.random() * 2
      if (instance.crashArmed && world.random() < 0.5) return world.kill(instance, 'after a vote was written')
    } else perform(world, instance, effect, delay)
  }
  tellLease(world, instance)
}

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

function perform(world: World, instance: Instance, effect: VoterEffect, delay: number): void {
  const { life } = instance
  const later = (run: () => void) => {
    if (delay < 2) return run()
    world.queue.at(world.queue.now + delay, () => on(instance, () => instance.life === life && run()))
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
        toMember(world, instance, {
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
        toMember(world, instance, { kind: 'advanced', epoch: effect.certificate.proposal.epoch }),
      )
    case 'deposed':
      return later(() =>
        toMember(world, instance, {
          kind: 'order',
          order: { kind: 'fence', epoch: effect.certificate.proposal.epoch },
        }),
      )
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
  releaseVotes.set(instance, effect.vote)
  const { turn, ok, why } = effect
  toMember(world, instance, { kind: 'released', turn, ok, why })
}
const releaseVotes = new WeakMap<Instance, (VoterEffect & { kind: 'released' })['vote']>()

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
  const { role } = instance.member
  if (role.kind !== 'primary' && role.kind !== 'promoting' && role.kind !== 'handing-over') return
  toMember(world, instance, { kind: 'lease', lease })
}

export function toMember(world: World, instance: Instance, event: MemberEvent): void {
  if (!instance.up) return
  const before = instance.member
  const step = stepMember(before, event, clockOf(world, instance))
  instance.member = step.member
  if (event.kind === 'hook-ended' && event.ok && STILL.has(event.hook)) setRunning(world, instance, false)
  if (before.role !== step.member.role || before.workload !== step.member.workload)
    coverRole(world, instance, before, event)
  if (step.member.suspended && !before.suspended) world.suspended(instance)
  if (
    world.sabotage === 'resign-early' &&
    step.member.role.kind === 'fenced' &&
    before.role.kind !== 'fenced'
  )
    toVoter(world, instance, { kind: 'resign', epoch: before.epoch })
  for (const effect of step.effects) {
    if (effect.kind === 'persist' && instance.crashArmed && world.random() < 0.3)
      return world.kill(instance, 'in the middle of a change of role')
    carryOut(world, instance, effect)
  }
  armGuard(world, instance)
  scheduleTick(world, instance)
}

function coverRole(world: World, { id, member }: Instance, before: Member, event: MemberEvent): void {
  const from = roleOf(before)
  const to = roleOf(member)
  if (from === to) return
  world.hit('member', `${from} -> ${to}`)
  world.note(`${id} ${describe(event)}: ${from} -> ${to} (epoch ${member.epoch})`)
}

const STILL: ReadonlySet<string> = new Set(['freeze', 'stop', 'kill'])
const roleOf = ({ role, workload }: Member): string =>
  `${role.kind}${'step' in role ? `/${role.step}` : ''} ${workload}`

function carryOut(world: World, instance: Instance, effect: MemberEffect): void {
  const { random } = world
  switch (effect.kind) {
    case 'persist':
      world.judge.sawEpoch(`${instance.id} acts`, effect.epoch)
      instance.disk = { ...instance.disk, epoch: effect.epoch, active: effect.active }
      return
    case 'hook':
    case 'kill':
      return runHook(world, instance, effect)
    case 'receive':
      instance.following = effect.primary
      instance.catchUp = 0
      return world.sayCopy(instance)
    case 'stop-receiving':
      instance.following = undefined
      return
    case 'finish-receiving':
      instance.following = undefined
      if (effect.discard) Object.assign(instance, { data: 0, whole: false })
      return local(world, instance, 5 + random() * 30, {
        kind: 'applied',
        turn: effect.turn,
        ok: random() > 0.02,
      })
    case 'drain':
      if (world.sabotage === 'vote-before-freeze')
        release(world, instance, effect.turn, effect.target, instance.member.incident ?? null)
      return local(world, instance, 5 + random() * 200, {
        kind: 'drained',
        turn: effect.turn,
        ok: random() > 0.05 && world.follows(effect.target, instance),
      })
    case 'seal':
      return seal(world, instance, effect)
    case 'release':
      return release(world, instance, effect.turn, effect.target, instance.member.incident ?? null)
    case 'resign':
      return toVoter(world, instance, { kind: 'resign', epoch: effect.epoch })
    case 'report': {
      const event = toGroupEvent(world, instance, effect.report)
      if (event) report(world, instance, event)
      return world.sayCopy(instance)
    }
    case 'serve':
    case 'stop-serving':
      return
  }
}

function release(
  world: World,
  instance: Instance,
  turn: number,
  target: InstanceId,
  incident: IncidentId | null,
): void {
  const extras: ElectionExtras = { incident, fresh: false }
  toVoter(world, instance, { kind: 'release', turn, target, extras })
}

/** After it both have the same, or the hand-over is off. */
function seal(world: World, instance: Instance, { target, turn }: MemberEffect & { kind: 'seal' }): void {
  const receiver = world.instances.get(target)
  const ok = world.follows(target, instance) && world.random() > 0.05
  if (ok && receiver) receiver.data = instance.data
  local(world, instance, 5 + world.random() * 60, { kind: 'sealed', turn, ok, seq: instance.data })
  if (world.sabotage === 'thaw-after-release')
    world.queue.at(world.queue.now + 80, () => {
      if (instance.member.role.kind === 'released' && instance.up) instance.running = true
    })
}

function local(world: World, instance: Instance, delay: number, event: MemberEvent): void {
  const { life, hook } = instance
  world.queue.at(world.queue.now + delay, () =>
    on(instance, () => {
      if (instance.life !== life || (event.kind === 'hook-ended' && instance.hook !== hook)) return
      toMember(world, instance, event)
    }),
  )
}

function runHook(world: World, instance: Instance, effect: MemberEffect & { kind: 'hook' | 'kill' }): void {
  const hook = effect.kind === 'kill' ? 'kill' : effect.hook
  const { random } = world
  instance.hook += 1
  world.hit('hook', hook)
  if (hook === 'start' || hook === 'thaw') {
    setRunning(world, instance, true)
    // Whatever it starts from is the state from now on.
    instance.whole = true
  }
  const took = timeOf(hook, random)
  const ok = hook === 'kill' || random() > (hook === 'stop' ? 0.05 : 0.03)
  local(world, instance, took, { kind: 'hook-ended', turn: effect.turn, hook, ok })
}

/** Some workloads take their time to stop. */
function timeOf(hook: string, random: Random): number {
  if (hook === 'stop' && random() < 0.1) return random() * 2000
  return hook === 'start' || hook === 'health' ? 20 + random() * 150 : 1 + random() * 40
}

function setRunning(world: World, instance: Instance, running: boolean): void {
  instance.running = running
  if (!running) instance.late = false
  world.changed()
}

export function report(world: World, instance: Instance, event: GroupEvent): void {
  const id = ++instance.reportId
  instance.outbox.push({ id, event })
  world.toCenter(instance, event, id)
}

function toGroupEvent(world: World, instance: Instance, said: MemberReport): GroupEvent | undefined {
  const { id } = instance
  world.hit('report', said.kind)
  switch (said.kind) {
    case 'promoted':
      world.tookOver(instance)
      return { kind: 'promoted', instance: id, epoch: said.epoch }
    case 'promotion-failed':
      return { kind: 'promotion-failed', instance: id, epoch: said.epoch, why: said.why }
    case 'released': {
      const vote = releaseVotes.get(instance)
      return vote && { kind: 'released', instance: id, epoch: said.epoch, target: said.target, vote }
    }
    case 'hand-over-failed':
      return { kind: 'hand-over-failed', instance: id, epoch: said.epoch, why: said.why }
    case 'fenced':
      return undefined
  }
}

/** The voter's heartbeat; first a look at the clocks, as the product does. */
function pulse(world: World, instance: Instance): void {
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

/** The daemon looks at its clock when its lease says that it must. */
function scheduleTick(world: World, instance: Instance): void {
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
      toMember(world, instance, { kind: 'tick' })
    }),
  )
}

/** The guard is told the end of each lease, on a clock that goes on while the machine stands still. */
function armGuard(world: World, instance: Instance): void {
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
  on(instance, () => instance.life === life && toMember(world, instance, { kind: 'killed' }))
}

/** Its lease would have let it go on no longer, as it stands. */
export const isLate = (world: World, instance: Instance): boolean =>
  instance.running &&
  (instance.guardAt !== undefined
    ? instance.guardAt <= world.queue.now
    : !mayRun(instance.member, clockOf(world, instance)))

export const noticeEvent = (instance: Instance, left: number): GroupEvent => ({
  kind: 'notice',
  instance: instance.id,
  left: millis(left),
})

const describe = (event: MemberEvent): string => {
  if (event.kind === 'order') return `order ${event.order.kind}`
  return event.kind === 'hook-ended' ? `${event.hook} ${event.ok ? 'ok' : 'failed'}` : event.kind
}

export const simulatedIncident = (number: number): IncidentId => incidentId(`incident-${number}`)
