import type { IncidentId, InstanceId } from '../../core/ids.ts'
import type { Random } from '../../core/random.ts'
import type { GroupEvent } from '../../failover/group.ts'
import { stepMember } from '../../failover/member.ts'
import type { Member, MemberEffect, MemberEvent, MemberReport } from '../../failover/member-types.ts'
import type { ElectionExtras } from '../../failover/voter.ts'
import { armGuard, scheduleTick } from './guard.ts'
import { clockOf, on, report, setRunning } from './instance.ts'
import type { Instance, World } from './world-parts.ts'

/** The role of an instance, its hooks and its state. */

export function toMember(world: World, instance: Instance, event: MemberEvent): void {
  if (!instance.up) return
  const before = instance.member
  const step = stepMember(before, event, clockOf(world, instance))
  instance.member = step.member
  if (event.kind === 'hook-ended' && isStill(event)) setRunning(world, instance, false)
  if (before.role !== step.member.role || before.workload !== step.member.workload)
    coverRole(world, instance, before, event)
  if (step.member.suspended && !before.suspended) world.suspended(instance)
  if (
    world.sabotage === 'resign-early' &&
    step.member.role.kind === 'fenced' &&
    before.role.kind !== 'fenced'
  )
    world.toVoter(instance, { kind: 'resign', epoch: before.epoch })
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

/** What was killed does nothing any more, though it may take its time to end. */
const isStill = ({ hook, ok }: MemberEvent & { kind: 'hook-ended' }): boolean =>
  hook === 'kill' || (ok && (hook === 'freeze' || hook === 'stop'))

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
      instance.partial = !instance.whole
      return world.sayCopy(instance)
    case 'stop-receiving':
      instance.following = undefined
      return
    case 'finish-receiving':
      instance.following = undefined
      if (effect.discard) Object.assign(instance, { data: 0, whole: true, partial: false })
      return local(world, instance, 5 + random() * 30, {
        kind: 'applied',
        turn: effect.turn,
        ok: random() > 0.02 && (!instance.partial || world.sabotage === 'start-on-a-part'),
        incomplete: instance.partial,
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
      return world.toVoter(instance, { kind: 'resign', epoch: effect.epoch })
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
  const { role } = instance.member
  const planned = role.kind === 'handing-over' && !role.urgent
  const extras: ElectionExtras = { incident, fresh: false, planned }
  world.toVoter(instance, { kind: 'release', turn, target, extras })
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
    if (instance.partial) world.judge.violate(`M5: ${instance.id} starts on a part of a copy`)
    setRunning(world, instance, true)
    // Whatever it starts from is the state from now on.
    Object.assign(instance, { whole: true, partial: false })
  }
  const took = timeOf(hook, random)
  const ok = random() > (hook === 'stop' || hook === 'kill' ? 0.05 : 0.03)
  local(world, instance, took, { kind: 'hook-ended', turn: effect.turn, hook, ok })
}

/** Some workloads take their time to stop. */
function timeOf(hook: string, random: Random): number {
  if (hook === 'stop' && random() < 0.1) return random() * 2000
  return hook === 'start' || hook === 'health' ? 20 + random() * 150 : 1 + random() * 40
}

function toGroupEvent(world: World, instance: Instance, said: MemberReport): GroupEvent | undefined {
  const { id } = instance
  world.hit('report', said.kind)
  switch (said.kind) {
    case 'promoted':
      world.tookOver(instance)
      return { kind: 'promoted', instance: id, epoch: said.epoch }
    case 'promotion-failed':
      return {
        ...{ kind: 'promotion-failed', instance: id, epoch: said.epoch, why: said.why },
        incomplete: said.incomplete,
      }
    case 'released': {
      const vote = instance.releaseVote
      return vote && { kind: 'released', instance: id, epoch: said.epoch, target: said.target, vote }
    }
    case 'hand-over-failed':
      return { kind: 'hand-over-failed', instance: id, epoch: said.epoch, why: said.why }
    case 'fenced':
      return undefined
  }
}

const describe = (event: MemberEvent): string => {
  if (event.kind === 'order') return `order ${event.order.kind}`
  return event.kind === 'hook-ended' ? `${event.hook} ${event.ok ? 'ok' : 'failed'}` : event.kind
}
