import { agentId, type IncidentId, type InstanceId, incidentId, instanceId } from '../core/ids.ts'
import { type Random, randomInt, seededRandom } from '../core/random.ts'
import { type Mono, millis, mono } from '../core/time.ts'
import {
  type Group,
  type GroupEffect,
  type GroupEvent,
  mayPromote,
  restoreGroup,
  stepGroup,
} from '../failover/group.ts'
import { defaultLeasePolicy, type LeasePolicy } from '../failover/lease.ts'
import { mayRun, newMember, stepMember } from '../failover/member.ts'
import type { Member, MemberEffect, MemberEvent } from '../failover/member-types.ts'
import type { Order } from '../failover/orders.ts'
import { createEventQueue } from './event-queue.ts'

/**
 * The real failover core of one agent on a virtual network: three instances and a coordinator, with message delay,
 * broken links, silent partitions, pauses, reboots, ended instances, coordinator restarts, drifting clocks, hooks
 * that fail, notices and planned moves, all from one seed. Whatever breaks an invariant is in `violations`.
 *
 * State is a counter: the running workload counts up, a replica follows, and a sealed hand-over makes both equal.
 */
export interface WorldResult {
  readonly violations: readonly string[]
  readonly commits: number
  readonly handOvers: number
  readonly closed: Readonly<Record<string, number>>
  readonly trace: readonly string[]
}

export interface WorldOptions {
  readonly seed: number
  readonly duration?: number
  readonly policy?: LeasePolicy
  readonly keepTrace?: boolean
  /** A deliberate bug, to show that the checks can fail. */
  readonly sabotage?: 'lease-from-receipt' | 'ignore-promise' | 'thaw-after-release'
}

const DURATION = 60_000
/** The last part of every schedule is free of new faults: by its end somebody must be primary again. */
const CALM = 25_000

interface Node {
  id: InstanceId
  rate: number
  offset: number
  member: Member
  /** What survives a reboot. */
  disk: { epoch: number; active: boolean }
  data: number
  up: boolean
  gone: boolean
  paused: boolean
  /** Processes of the workload may be doing something, as somebody standing beside the machine would see it. */
  running: boolean
  /** It was stopped past the end of its lease, and its daemon has not yet caught up. */
  late: boolean
  inbox: (() => void)[]
  session: number
  linked: boolean
  seq: number
  outbox: { id: number; event: GroupEvent }[]
  reportId: number
  /** Grows when everything that the instance has begun is void. */
  life: number
  /** Grows with every hook: a new one ends the one before. */
  hook: number
  following: InstanceId | undefined
  catchUp: number
  /** It holds a whole copy of some moment. Catching up from one keeps it whole: changes are applied in groups. */
  whole: boolean
  /** The coordinator has heard that it is whole. */
  told: boolean
  noticed: boolean
}

export function runWorld(options: WorldOptions): WorldResult {
  const random = seededRandom(options.seed)
  const policy = options.policy ?? defaultLeasePolicy
  const queue = createEventQueue()
  const world = createWorld(options, policy, random, queue)
  world.start()
  const end = options.duration ?? DURATION
  let sound = true
  while (sound && queue.step(end)) sound = world.check()
  // Delays go on, so the very last moment may be a bad one.
  while (sound && !world.isAlive() && queue.step(end + CALM)) sound = world.check()
  if (sound) world.checkAlive()
  return world.result()
}

function createWorld(
  options: WorldOptions,
  policy: LeasePolicy,
  random: Random,
  queue: ReturnType<typeof createEventQueue>,
) {
  const violations: string[] = []
  const trace: string[] = []
  const closed: Record<string, number> = {}
  const releases = new Map<number, { target: InstanceId; data: number }>()
  const handed = new Map<number, number>()
  const committedEpochs = new Map<number, InstanceId>()
  let commits = 0
  let handOvers = 0
  let incidents = 0
  const { sabotage } = options

  const note = (text: string) => {
    if (options.keepTrace) trace.push(`${queue.now.toFixed(0).padStart(7)} ${text}`)
  }
  const violate = (text: string) => {
    note(`VIOLATION ${text}`)
    violations.push(`seed ${options.seed} at ${queue.now.toFixed(0)} ms: ${text}`)
  }
  const drift = () => 1 + (random() * 2 - 1) * policy.drift * 0.9

  // ── coordinator ────────────────────────────────────────────────────────────────────────────────────────────────
  const center = { rate: drift(), offset: random() * 1e6, up: true, life: 0 }
  const centerNow = (): Mono => mono(queue.now * center.rate + center.offset)
  const stored = {
    epoch: 0,
    primary: undefined as InstanceId | undefined,
    members: new Map<InstanceId, { instance: InstanceId; retired: boolean; hadCopy: boolean }>(),
  }
  const load = (): Group =>
    restoreGroup(
      {
        agent: agentId('agent-1'),
        epoch: stored.epoch,
        primary: stored.primary,
        members: [...stored.members.values()],
        policy,
      },
      centerNow(),
    )
  let group = load()
  const checks = new Map<InstanceId, number>()

  const storeCopy = (instance: InstanceId, ready: boolean): void => {
    const known = stored.members.get(instance)
    if (!known) return
    known.hadCopy = ready
    const node = nodes.get(instance)
    if (node) node.told = ready && !known.retired
  }

  const dispatch = (event: GroupEvent): void => {
    if (!center.up) return
    if (event.kind === 'sync') storeCopy(event.instance, event.sync === 'ready')
    const before = group.phase.kind
    if (sabotage === 'ignore-promise' && event.kind === 'tick')
      group = { ...group, promiseUntil: mono(0), soloSince: undefined }
    const step = stepGroup(group, event, {
      now: centerNow(),
      newIncident: (): IncidentId => incidentId(`incident-${++incidents}`),
    })
    group = step.group
    if (event.kind !== 'tick' && event.kind !== 'heartbeat')
      note(`C ${event.kind} ${'instance' in event ? event.instance : ''}`)
    if (group.phase.kind === 'relaunching' && event.kind === 'gone') relaunchingSince = queue.now
    if (before !== group.phase.kind) note(`C ${before} -> ${group.phase.kind} (epoch ${group.epoch})`)
    for (const effect of step.effects) carryOut(effect)
  }

  const later = (delay: number, run: () => void) => {
    const { life } = center
    queue.at(queue.now + delay, () => {
      if (center.up && center.life === life) run()
    })
  }

  const carryOut = (effect: GroupEffect): void => {
    switch (effect.kind) {
      case 'lease':
        return toMember(effect.instance, { kind: 'lease', grant: effect.grant })
      case 'order':
        return toMember(effect.instance, { kind: 'order', order: effect.order })
      case 'commit':
        return later(1 + random() * 10, () => commit(effect))
      case 'point-address':
        return later(1 + random() * 10, () => dispatch({ kind: 'routed', epoch: effect.epoch }))
      case 'replica-wanted':
        return later(500 + random() * 3000, spareNode)
      case 'check-instance':
        return askCloud(effect.instance)
      case 'incident-closed':
        closed[effect.outcome] = (closed[effect.outcome] ?? 0) + 1
        return
      default:
        return
    }
  }

  const commit = (effect: GroupEffect & { kind: 'commit' }) => {
    if (stored.epoch !== effect.from) return violate(`commit from ${effect.from}, stored ${stored.epoch}`)
    if (committedEpochs.has(effect.to)) violate(`epoch ${effect.to} committed twice`)
    committedEpochs.set(effect.to, effect.target)
    const release = releases.get(effect.from)
    if (release?.target === effect.target) handed.set(effect.to, release.data)
    stored.epoch = effect.to
    stored.primary = effect.target
    const { previous, incident } = effect
    if (group.phase.kind === 'committing' && group.phase.fresh) checkNothingLeft(effect.target)
    if (previous && previous !== effect.target && incident && !incident.keepOld)
      stored.members.set(previous, { instance: previous, retired: true, hadCopy: false })
    stored.members.set(effect.target, { instance: effect.target, retired: false, hadCopy: true })
    commits += 1
    note(`C committed epoch ${effect.to} for ${effect.target}`)
    // A crash may come between the commit and everything that follows from it.
    if (random() < 0.02) return restartCenter()
    dispatch({ kind: 'committed', epoch: effect.to })
  }

  const askCloud = (instance: InstanceId) => {
    if ((checks.get(instance) ?? -1e9) > queue.now - 1000) return
    checks.set(instance, queue.now)
    const node = nodes.get(instance)
    later(20 + random() * 200, () => {
      if (node?.gone) dispatch({ kind: 'gone', instance })
    })
  }

  const restartCenter = () => {
    if (!center.up) return
    center.up = false
    center.life += 1
    note('C goes down')
    for (const node of nodes.values()) unlink(node)
    queue.at(queue.now + random() * 4000, () => {
      center.up = true
      group = load()
      note('C is back')
    })
  }

  // ── instances ──────────────────────────────────────────────────────────────────────────────────────────────────
  const nodes = new Map<InstanceId, Node>()
  const clockOf = (node: Node): Mono => mono(queue.now * node.rate + node.offset)

  const createNode = (id: InstanceId): Node => {
    const node: Node = {
      id,
      rate: drift(),
      offset: random() * 1e6,
      member: newMember(policy),
      disk: { epoch: 0, active: false },
      data: 0,
      up: true,
      gone: false,
      paused: false,
      running: false,
      late: false,
      inbox: [],
      session: 0,
      linked: false,
      seq: 0,
      outbox: [],
      reportId: 0,
      life: 0,
      hook: 0,
      following: undefined,
      catchUp: 0,
      whole: false,
      told: false,
      noticed: false,
    }
    nodes.set(id, node)
    stored.members.set(id, { instance: id, retired: false, hadCopy: false })
    dispatch({ kind: 'joined', instance: id })
    beat(node)
    link(node)
    work(node)
    return node
  }

  let born = 0
  const spareNode = () => {
    const alive = [...nodes.values()].filter((node) => !node.gone && !node.noticed)
    if (alive.length < 3) createNode(instanceId(`i-${++born}`))
  }

  /** Runs `run` on the instance: at once, when it wakes up, or never. */
  const on = (node: Node, run: () => void) => {
    if (!node.up) return
    if (node.paused) node.inbox.push(run)
    else run()
  }

  const unlink = (node: Node) => {
    if (!node.linked) return
    node.linked = false
    node.session += 1
    const { session } = node
    queue.at(queue.now + random() * 300, () => on(node, () => node.session === session && link(node)))
    if (center.up) later(random() * 300, () => dispatch({ kind: 'disconnected', instance: node.id }))
  }

  const link = (node: Node) => {
    if (!node.up || node.linked) return
    const delay = 1 + random() * 20
    queue.at(queue.now + delay, () => {
      if (!node.up || node.linked) return
      if (!center.up || cuts.has(node.id))
        return queue.at(queue.now + 100 + random() * 400, () => on(node, () => link(node)))
      node.linked = true
      node.session += 1
      const { member } = node
      toCenter(node, {
        kind: 'connected',
        instance: node.id,
        role: member.role.kind,
        epoch: member.epoch,
        seq: ++node.seq,
        sentAt: clockOf(node),
      })
      for (const { id, event } of node.outbox) toCenter(node, event, id)
      sayWhole(node)
    })
  }

  const sayWhole = (node: Node) =>
    toCenter(node, { kind: 'sync', instance: node.id, sync: node.whole ? 'ready' : 'syncing' })

  const cuts = new Set<InstanceId>()
  const lastArrival = new Map<string, number>()
  /** One way of a link: in order, lost when the session breaks or the network is cut. */
  const travel = (node: Node, way: string, deliver: () => void) => {
    const { session } = node
    const slow = random() < 0.08 ? random() * 1500 : random() * 20
    const key = `${node.id}${way}${session}`
    const at = Math.max(queue.now + 1 + slow, (lastArrival.get(key) ?? 0) + 0.01)
    lastArrival.set(key, at)
    queue.at(at, () => {
      if (node.session !== session || cuts.has(node.id)) return
      deliver()
    })
  }
  const toCenter = (node: Node, event: GroupEvent, reportId?: number) => {
    if (!node.linked) return
    travel(node, '>', () => {
      if (!center.up) return
      if (reportId !== undefined)
        travel(node, '<', () => {
          node.outbox = node.outbox.filter((entry) => entry.id !== reportId)
        })
      dispatch(event)
    })
  }
  const toMember = (id: InstanceId, event: MemberEvent) => {
    const node = nodes.get(id)
    if (!node?.linked) return
    travel(node, '<', () => on(node, () => deliver(node, event)))
  }

  const deliver = (node: Node, event: MemberEvent) => {
    if (event.kind === 'lease' && sabotage === 'lease-from-receipt')
      event = { kind: 'lease', grant: { ...event.grant, sentAt: clockOf(node) } }
    const before = `${node.member.role.kind}/${node.member.workload}`
    const step = stepMember(node.member, event, clockOf(node))
    if (step.member.epoch < node.member.epoch) violate(`${node.id} went back to epoch ${step.member.epoch}`)
    node.member = step.member
    if (event.kind === 'hook-ended' && event.ok && ['freeze', 'stop', 'kill'].includes(event.hook)) {
      node.running = false
      node.late = false
    }
    const now = `${node.member.role.kind}/${node.member.workload}`
    if (before !== now)
      note(`${node.id} ${describe(event)}: ${before} -> ${now} (epoch ${node.member.epoch})`)
    for (const effect of step.effects) perform(node, effect)
  }

  const perform = (node: Node, effect: MemberEffect): void => {
    switch (effect.kind) {
      case 'persist':
        node.disk = { epoch: effect.epoch, active: effect.active }
        return
      case 'hook':
      case 'kill':
        return runHook(node, effect)
      case 'receive':
        node.following = effect.primary
        node.catchUp = 0
        return sayWhole(node)
      case 'stop-receiving':
        node.following = undefined
        return
      case 'finish-receiving':
        node.following = undefined
        if (effect.discard) Object.assign(node, { data: 0, whole: false })
        return local(node, 5 + random() * 30, { kind: 'applied', turn: effect.turn, ok: random() > 0.02 })
      case 'drain':
        return local(node, 5 + random() * 300, {
          kind: 'drained',
          turn: effect.turn,
          ok: random() > 0.05 && follows(effect.target, node),
        })
      case 'seal':
        return sealTo(node, effect.target, effect.turn)
      case 'report': {
        const event = toGroupEvent(node, effect)
        if (!event) return sayWhole(node)
        const id = ++node.reportId
        node.outbox.push({ id, event })
        toCenter(node, event, id)
        return sayWhole(node)
      }
      default:
        return
    }
  }

  const follows = (target: InstanceId, primary: Node): boolean => {
    const node = nodes.get(target)
    if (!node) return false
    return node.up && !node.paused && node.following === primary.id && !cuts.has(target)
  }

  const sealTo = (node: Node, target: InstanceId, turn: number) => {
    const receiver = nodes.get(target)
    const ok = follows(target, node) && random() > 0.05
    if (ok && receiver) {
      receiver.data = node.data
      handOvers += 1
    }
    local(node, 5 + random() * 60, { kind: 'sealed', turn, ok, seq: node.data })
    if (sabotage === 'thaw-after-release')
      queue.at(queue.now + 80, () => {
        if (node.member.role.kind === 'released') node.running = true
      })
  }

  const local = (node: Node, delay: number, event: MemberEvent) => {
    const { life, hook } = node
    queue.at(queue.now + delay, () =>
      on(node, () => {
        if (node.life !== life || (event.kind === 'hook-ended' && node.hook !== hook)) return
        deliver(node, event)
      }),
    )
  }

  const runHook = (node: Node, effect: MemberEffect & { kind: 'hook' | 'kill' }) => {
    const hook = effect.kind === 'kill' ? 'kill' : effect.hook
    node.hook += 1
    if (hook === 'start' || hook === 'thaw') {
      node.running = true
      // Whatever it starts from is the state from now on.
      node.whole = true
    }
    const took = hook === 'start' || hook === 'health' ? 50 + random() * 400 : 1 + random() * 60
    local(node, took, {
      kind: 'hook-ended',
      turn: effect.turn,
      hook,
      ok: hook === 'kill' || random() > (hook === 'stop' ? 0.05 : 0.03),
    })
  }

  const beat = (node: Node) => {
    queue.at(queue.now + policy.heartbeat * (0.95 + random() * 0.1), () => {
      if (node.gone) return
      on(node, () => {
        const { member } = node
        node.seq += 1
        const { lease } = member
        toCenter(node, {
          kind: 'heartbeat',
          instance: node.id,
          epoch: member.epoch,
          seq: node.seq,
          sentAt: clockOf(node),
          lease: lease.kind === 'none' ? { kind: 'none', seq: 0 } : { kind: lease.kind, seq: lease.seq },
          replicas: [...nodes.values()]
            .filter((other) => other.following === node.id)
            .map((other) => ({
              instance: other.id,
              attached: follows(other.id, node) && other.catchUp >= 1,
              lagBytes: node.data - other.data,
            })),
        })
      })
      beat(node)
    })
  }

  /** The workload's own time: it counts while it runs, replicas follow, the daemon looks at its clock. */
  const work = (node: Node) => {
    queue.at(queue.now + 20, () => {
      if (node.gone) return
      if (node.up && !node.paused) {
        if (node.running) node.data += 1
        replicate(node)
        deliver(node, { kind: 'tick' })
      }
      work(node)
    })
  }

  const replicate = (node: Node) => {
    const primary = node.following === undefined ? undefined : nodes.get(node.following)
    if (!primary || node.member.role.kind !== 'replica') return
    if (!primary.up || primary.paused || cuts.has(primary.id) || cuts.has(node.id)) return
    if (primary.member.role.kind !== 'primary' && primary.member.role.kind !== 'handing-over') return
    if (primary.member.epoch !== node.member.epoch) return
    const behind = node.catchUp < 1
    node.catchUp = Math.min(1, node.catchUp + 0.05)
    if (behind && node.catchUp < 1) return
    node.data = primary.data
    if (!behind || node.whole) return
    node.whole = true
    sayWhole(node)
  }

  /** Counts against every other that may be doing something. */
  const isActive = (node: Node): boolean => node.up && !node.paused && node.running && !node.late

  /** G5, seen from above: an empty start while a copy could have been had is a loss of our own making. */
  const checkNothingLeft = (target: InstanceId) => {
    const holder = [...nodes.values()].find((node) => node.whole && node.told && !node.gone && !node.noticed)
    if (holder && queue.now - relaunchingSince < 55_000)
      violate(`${target} starts from nothing though ${holder.id} has a copy`)
  }
  let relaunchingSince = 0

  const isAlive = (): boolean =>
    group.phase.kind === 'steady' &&
    [...nodes.values()].some((node) => isActive(node) && node.id === group.primary)

  // ── faults ─────────────────────────────────────────────────────────────────────────────────────────────────────
  const someNode = (): Node | undefined => {
    const alive = [...nodes.values()].filter((node) => !node.gone)
    return alive[Math.floor(random() * alive.length)]
  }

  const end = (node: Node, why: string) => {
    note(`${node.id} ends: ${why}`)
    node.up = false
    node.gone = true
    node.following = undefined
    unlink(node)
    spareLater()
  }
  const spareLater = () => queue.at(queue.now + 2000 + random() * 4000, spareNode)

  const reboot = (node: Node) => {
    if (!node.up) return
    note(`${node.id} reboots`)
    node.up = false
    node.paused = false
    node.running = false
    node.late = false
    node.inbox = []
    node.life += 1
    unlink(node)
    const back = random() * 3000
    queue.at(queue.now + back, () => {
      if (node.gone) return
      node.up = true
      node.following = undefined
      node.outbox = []
      node.member = { ...newMember(policy), turn: node.member.turn + 1 }
      deliver(node, { kind: 'booted', epoch: node.disk.epoch, active: node.disk.active })
      node.linked = false
      node.session += 1
      queue.at(queue.now + 150, () => on(node, () => link(node)))
    })
  }

  const pause = (node: Node, length: number) => {
    if (!node.up || node.paused) return
    note(`${node.id} stops for ${length.toFixed(0)} ms`)
    node.paused = true
    queue.at(queue.now + length, () => {
      node.paused = false
      if (!node.up) return
      const soon = mono(clockOf(node) + policy.fenceBudget)
      node.late = node.running && !mayRun(node.member, soon)
      // Timers fire first: the daemon looks at its clock before it reads what came in.
      deliver(node, { kind: 'tick' })
      for (const run of node.inbox.splice(0)) run()
    })
  }

  const calmFrom = (options.duration ?? DURATION) - CALM
  /** What can go wrong, each up to its share of all faults. */
  const faults: readonly (readonly [below: number, happen: (node: Node) => void])[] = [
    [0.2, (node) => pause(node, random() * 5000)],
    [0.35, (node) => reboot(node)],
    [0.45, (node) => end(node, 'killed')],
    [0.65, (node) => cut(node, random() * 6000)],
    [0.75, (node) => unlink(node)],
    [0.85, (node) => notice(node)],
    [0.9, () => restartCenter()],
    [1, () => planned()],
  ]
  const fault = () => {
    if (queue.now > calmFrom) return
    const node = someNode()
    const kind = random()
    if (node) faults.find(([below]) => kind < below)?.[1](node)
    queue.at(queue.now + 300 + random() * 3000, fault)
  }

  const cut = (node: Node, length: number) => {
    if (cuts.has(node.id)) return
    note(`${node.id} is cut off for ${length.toFixed(0)} ms`)
    cuts.add(node.id)
    // Neither side is told; each finds out by itself, or not at all.
    if (random() < 0.5) queue.at(queue.now + 1000 + random() * 2000, () => unlink(node))
    queue.at(queue.now + length, () => {
      cuts.delete(node.id)
      unlink(node)
    })
  }

  const notice = (node: Node) => {
    if (node.noticed) return
    node.noticed = true
    const left = random() < 0.2 ? 0 : random() * 12_000
    note(`${node.id} gets a notice, ${left.toFixed(0)} ms left`)
    const event: GroupEvent = { kind: 'notice', instance: node.id, left: millis(left) }
    const id = ++node.reportId
    on(node, () => {
      node.outbox.push({ id, event })
      toCenter(node, event, id)
    })
    queue.at(queue.now + left, () => !node.gone && end(node, 'its notice ran out'))
  }

  const planned = () => {
    const targets = [...group.members.values()].filter((member) => member.instance !== group.primary)
    const target = targets[randomInt(random, 0, Math.max(0, targets.length - 1))]
    if (!target || !center.up || mayPromote(group, target.instance, centerNow())) return
    note(`an operator promotes ${target.instance}`)
    dispatch({
      kind: 'promote',
      target: target.instance,
      budget: millis(5000),
      keepOld: random() < 0.5,
    })
  }

  const ticks = () => {
    queue.at(queue.now + 50, () => {
      dispatch({ kind: 'tick' })
      ticks()
    })
  }

  const toGroupEvent = (
    node: Node,
    { report }: MemberEffect & { kind: 'report' },
  ): GroupEvent | undefined => {
    const { id: instance } = node
    switch (report.kind) {
      case 'promoted':
        checkState(node)
        return { kind: 'promoted', instance, epoch: report.epoch }
      case 'promotion-failed':
        return { kind: 'promotion-failed', instance, epoch: report.epoch, why: report.why }
      case 'released':
        releases.set(report.epoch, { target: report.target, data: node.data })
        return { kind: 'released', instance, epoch: report.epoch, target: report.target }
      case 'hand-over-failed':
        return { kind: 'hand-over-failed', instance, epoch: report.epoch, why: report.why }
      case 'fenced':
        return undefined
    }
  }

  /** After a sealed hand-over the next primary has everything; anything less is a lost write. */
  const checkState = (node: Node) => {
    const expected = handed.get(node.member.epoch)
    if (expected !== undefined && node.data < expected)
      violate(`${node.id} took over with ${node.data} of ${expected} writes that were handed to it`)
  }

  return {
    start() {
      createNode(instanceId(`i-${++born}`))
      queue.at(200, spareNode)
      queue.at(400, spareNode)
      ticks()
      queue.at(3000 + random() * 3000, fault)
    },
    check(): boolean {
      const active = [...nodes.values()].filter(isActive)
      if (active.length > 1)
        violate(
          `two active: ${active.map((node) => `${node.id}@${node.member.epoch} ${node.member.role.kind}`).join(', ')}`,
        )
      for (const node of active)
        if (!mayRun(node.member, clockOf(node)))
          violate(`${node.id} runs as ${node.member.role.kind} without a lease`)
      return violations.length === 0
    },
    isAlive,
    checkAlive() {
      if (!isAlive()) violate(`nobody is primary at the end: ${group.phase.kind}`)
    },
    result: (): WorldResult => ({ violations, commits, handOvers, closed, trace }),
  }
}

const describe = (event: MemberEvent): string => {
  if (event.kind === 'order') return `order ${(event.order as Order).kind}`
  if (event.kind === 'hook-ended') return `${event.hook} ${event.ok ? 'ok' : 'failed'}`
  return event.kind
}
