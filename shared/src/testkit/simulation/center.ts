import { agentId, type IncidentId, type InstanceId } from '../../core/ids.ts'
import { between, type Mono, millis, mono } from '../../core/time.ts'
import { type Certificate, COORDINATOR } from '../../failover/certificate.ts'
import {
  type Group,
  type GroupEffect,
  type GroupEvent,
  mayPromote,
  nextLook,
  type OpenIncident,
  type OpenMove,
  restoreGroup,
  stepGroup,
} from '../../failover/group.ts'
import { on, simulatedIncident } from './instance.ts'
import type { ToldIncident } from './judge.ts'
import { sabotageGroup, sabotageMore } from './sabotage-center.ts'
import type { Center, Instance, World } from './world-parts.ts'

const TICK = 100

/** What the database holds. */
interface Stored {
  certificate: Certificate | undefined
  voted: { epoch: number; primary: InstanceId | undefined }
  members: Map<InstanceId, { instance: InstanceId; retired: boolean; hadCopy: boolean }>
  records: Map<string, Certificate>
  /** The incident that runs, and how far it has come. */
  open: OpenMove | undefined
  /** It was restored, and not everybody has told yet what it has missed. */
  outdated: boolean
}

/** What the world does for it. */
export interface CenterPorts {
  spare(): void
  /** With each tick of a coordinator that runs. */
  tick(): void
  travelDown(instance: Instance, deliver: () => void): void
  unlink(instance: Instance): void
}

export function createCenter(world: World, ports: CenterPorts, rate: number): Center {
  const { queue, random, policy, judge, sabotage } = world
  const offset = random() * 1e6
  const closed: Record<string, number> = {}
  let stored: Stored = emptyStore()
  /** Never from before the first certificate: a database like that knows no credential of any instance either. */
  let backup: Stored | undefined
  let up = true
  let asleep = false
  let life = 0
  let inbox: (() => void)[] = []
  let crash: 'before' | 'after' | undefined
  let incidents = 0
  const opened: ToldIncident[] = []
  const closedIds = new Set<IncidentId>()
  let checked = new Map<InstanceId, number>()
  /** Writes are taken in order. */
  let writtenAt = 0

  const now = (): Mono => mono(queue.now * rate + offset)
  const load = (): Group =>
    restoreGroup(
      {
        agent: agentId('agent-1'),
        certificate: stored.certificate,
        base: stored.certificate && stored.records.get(stored.certificate.proposal.previous.digest),
        voted: stored.voted,
        key: 'key',
        members: [...stored.members.values()],
        policy,
        move: stored.open,
      },
      now(),
    )
  let group = load()

  const later = (delay: number, run: () => void) => {
    const mine = life
    queue.at(queue.now + delay, () => {
      if (!up || life !== mine) return
      if (asleep) inbox.push(run)
      else run()
    })
  }

  function dispatch(event: GroupEvent): void {
    if (!up) return
    if (asleep) {
      const mine = life
      inbox.push(() => life === mine && dispatch(event))
      return
    }
    if (event.kind === 'sync') storeCopy(event.instance, event.sync === 'ready')
    const before = group
    const step = stepGroup(sabotageGroup(sabotage, group, event, now()), event, {
      now: now(),
      newIncident: () => simulatedIncident(++incidents),
      digest: world.digest,
    })
    group =
      sabotage === 'ack-while-voting' && event.kind === 'beat'
        ? { ...step.group, casting: before.casting }
        : step.group
    if (before.abstainFor.size > 0 && group.abstainFor.size === 0) stored.outdated = false
    coverPhase(before, event)
    for (const effect of step.effects) {
      if (!up) return
      carryOut(effect)
    }
    for (const more of sabotageMore(sabotage, before, group, event)) dispatch(more)
  }

  function coverPhase(before: Group, event: GroupEvent): void {
    const from = before.phase.kind
    const to = group.phase.kind
    if (from === to) return
    world.hit('group', `${from} -> ${to}`)
    world.note(`C ${event.kind}: ${from} -> ${to} (epoch ${group.epoch}, voted ${group.voted.epoch})`)
  }

  function storeCopy(instance: InstanceId, ready: boolean): void {
    const known = stored.members.get(instance)
    if (!known) return
    known.hadCopy = ready
    const holder = world.instances.get(instance)
    if (holder) holder.told = ready && !known.retired
  }

  function carryOut(effect: GroupEffect): void {
    switch (effect.kind) {
      case 'tell':
        world.hit('tell', effect.message.kind)
        return world.send(COORDINATOR, effect.instance, effect.message)
      case 'order': {
        world.hit('order', effect.order.kind)
        if (effect.order.kind === 'hand-over' && stored.open)
          stored.open = { ...stored.open, at: { kind: 'handing-over', target: effect.order.target } }
        return toInstance(effect.instance, effect)
      }
      case 'vote':
        return write(effect)
      case 'record':
        return atDisk(() => record(effect.certificate, effect.facts.incident, effect.facts))
      case 'point-address':
        return later(1 + random() * 10, () => dispatch({ kind: 'routed', epoch: effect.epoch }))
      case 'replica-wanted':
        return later(500 + random() * 1500, ports.spare)
      case 'check-instance':
        return askCloud(effect.instance)
      case 'incident-opened':
        opened.push({ ...effect.incident, openedAt: queue.now, closedAt: undefined })
        // Who was thought not to have taken over may have done so after all.
        closedIds.delete(effect.incident.id)
        stored.open = { incident: effect.incident, at: { kind: 'waiting' } }
        return
      case 'incident-moved':
        if (stored.open) stored.open = { ...stored.open, incident: effect.incident }
        return
      case 'incident-closed':
        if (closedIds.has(effect.incident.id)) judge.violate(`I9: ${effect.incident.id} is closed twice`)
        closedIds.add(effect.incident.id)
        ended(effect.incident.id)
        stored.open = undefined
        closed[effect.outcome] = (closed[effect.outcome] ?? 0) + 1
        return
      default:
        return
    }
  }

  function ended(incident: IncidentId): void {
    for (const told of opened) if (told.id === incident) told.closedAt ??= queue.now
  }

  const toInstance = (id: InstanceId, { order }: GroupEffect & { kind: 'order' }) => {
    const instance = world.instances.get(id)
    if (instance)
      ports.travelDown(instance, () => on(instance, () => world.toMember(instance, { kind: 'order', order })))
  }

  /** A database that is slow now and then, but keeps the order. */
  function atDisk(run: () => void): void {
    const slow = sabotage === 'ack-while-voting' ? 0.7 : 0.03
    const took = random() < slow ? random() * 600 : 1 + random() * 6
    writtenAt = Math.max(writtenAt, queue.now + took)
    later(writtenAt - queue.now, run)
  }

  function write(effect: GroupEffect & { kind: 'vote' }): void {
    atDisk(() => {
      if (crash === 'before') return crashNow('before its vote was written')
      const { proposal, votes, record: facts } = effect
      if (proposal.epoch <= stored.voted.epoch)
        return judge.violate(`G1: the coordinator votes twice in epoch ${proposal.epoch}`)
      stored.voted = { epoch: proposal.epoch, primary: proposal.primary }
      if (facts) {
        const cast = [...votes.map(({ voter, signature }) => ({ voter, signature }))]
        const certificate: Certificate = {
          proposal,
          digest: world.digest(proposal),
          votes: [...cast, { voter: COORDINATOR, signature: 'signed' }],
        }
        judge.certified(certificate)
        record(certificate, facts.incident, facts)
      }
      if (crash === 'after') return crashNow('after its vote was written')
      dispatch({ kind: 'voted', epoch: proposal.epoch, signature: 'signed' })
    })
  }

  function crashNow(when: string): void {
    crash = undefined
    world.hit('coordinator crashes', when)
    restart(random() * 2000)
  }

  function record(
    certificate: Certificate,
    incident: OpenIncident | undefined,
    { previous, fresh }: { readonly previous: InstanceId | undefined; readonly fresh: boolean },
  ): void {
    judge.recorded(certificate, incident?.id)
    stored.records.set(certificate.digest, certificate)
    const known = stored.certificate?.proposal.epoch ?? 0
    if (certificate.proposal.epoch <= known) return
    const { epoch, primary } = certificate.proposal
    const hasMoved = stored.certificate !== undefined && stored.certificate.proposal.primary !== primary
    if (stored.open && stored.open.incident.id === incident?.id)
      stored.open = openAt(stored.open, hasMoved, fresh)
    stored.certificate = certificate
    if (stored.voted.epoch < epoch) stored.voted = { epoch, primary }
    if (previous && previous !== primary && incident && !incident.keepOld && previous === incident.instance)
      stored.members.set(previous, { instance: previous, retired: true, hadCopy: true })
    stored.members.set(primary, { instance: primary, retired: false, hadCopy: true })
    backup ??= copyOf(stored)
  }

  function askCloud(instance: InstanceId): void {
    if ((checked.get(instance) ?? -1e9) > queue.now - 500) return
    checked.set(instance, queue.now)
    later(20 + random() * 200, () => {
      if (world.instances.get(instance)?.gone) dispatch({ kind: 'gone', instance })
    })
  }

  function restart(length: number, restored = false): void {
    if (!up) return
    up = false
    life += 1
    asleep = false
    inbox = []
    crash = undefined
    world.note(`C goes down${restored ? ', and comes back with an old database' : ''}`)
    for (const instance of world.instances.values()) ports.unlink(instance)
    queue.at(queue.now + length, () => {
      up = true
      checked = new Map()
      writtenAt = 0
      if (restored) closedIds.clear()
      if (restored && backup) stored = restore(copyOf(backup), stored, 1000 * life)
      // An operator tries again.
      if (stored.open?.incident.trigger === 'planned' && stored.open.at.kind === 'waiting') {
        ended(stored.open.incident.id)
        stored.open = undefined
      }
      group = load()
      world.note(`C is back (epoch ${group.epoch}, voted ${group.voted.epoch})`)
      if (stored.outdated) dispatch({ kind: 'outdated', voted: stored.voted.epoch })
    })
  }

  /** An operator who is told that nobody is ready tries again, for some seconds. */
  function planned(tries = 12): void {
    const ready = [...group.members.values()].filter(
      ({ instance }) => mayPromote(group, instance, now()) === undefined,
    )
    const target = ready[Math.floor(random() * ready.length)]
    if (!target || !up || asleep) {
      if (tries > 0) queue.at(queue.now + 300, () => planned(tries - 1))
      return
    }
    world.note(`an operator promotes ${target.instance}`)
    dispatch({ kind: 'appraised', order: [...group.members.keys()].reverse() })
    dispatch({ kind: 'promote', target: target.instance, budget: millis(5000), keepOld: random() < 0.5 })
  }

  const center: Center = {
    get up() {
      return up
    },
    get group() {
      return group
    },
    closed,
    now,
    dispatch,
    onVoterMessage(from, message) {
      if (message.kind === 'beat')
        return dispatch({
          kind: 'beat',
          instance: from,
          epoch: message.epoch,
          sentAt: message.sentAt,
          hears: message.hears,
          office: message.office,
        })
      dispatch({ kind: 'voter', instance: from, message })
    },
    joined(instance) {
      stored.members.set(instance, { instance, retired: false, hadCopy: false })
      dispatch({ kind: 'joined', instance })
    },
    restart,
    pause(length) {
      if (!up || asleep) return
      asleep = true
      const mine = life
      queue.at(queue.now + length, () => {
        if (life !== mine) return
        asleep = false
        for (const run of inbox.splice(0)) run()
      })
    },
    armCrash(when) {
      crash = when
    },
    planned,
    letGo(instance) {
      const known = stored.members.get(instance)
      if (known) known.retired = true
      dispatch({ kind: 'left', instance })
    },
    takeBackup() {
      if (stored.certificate) backup = copyOf(stored)
    },
    isRecorded: (digest) => stored.records.has(digest),
    opened,
  }
  const ticks = () => {
    queue.at(queue.now + TICK, () => {
      dispatch({ kind: 'tick' })
      if (up && !asleep) ports.tick()
      // As housekeeping.ts does: a promise that ends before the next tick is not waited for any longer than it lasts.
      const next = nextLook(group, now())
      const left = next === undefined ? TICK : between(now(), next) / rate
      if (left < TICK) later(left, () => dispatch({ kind: 'tick' }))
      ticks()
    })
  }
  ticks()
  return center
}

/** A certificate of the incident: the move is made, or what was begun after it starts with what is there. */
function openAt({ incident, at }: OpenMove, hasMoved: boolean, fresh: boolean): OpenMove {
  if (hasMoved) return { incident, at: { kind: 'promoting', fresh } }
  return { incident, at: at.kind === 'promoting' ? { ...at, fresh: false } : at }
}

const emptyStore = (): Stored => ({
  certificate: undefined,
  voted: { epoch: 0, primary: undefined },
  members: new Map(),
  records: new Map(),
  open: undefined,
  outdated: false,
})

const copyOf = ({ certificate, voted, members, records, outdated, open }: Stored): Stored => ({
  open,
  outdated,
  certificate,
  voted,
  members: new Map([...members].map(([id, member]) => [id, { ...member }])),
  records: new Map(records),
})

/**
 * Instances that enrolled since then have no credential any more; here they have enrolled again. Epochs that may have
 * been voted on are left out.
 */
function restore(old: Stored, lost: Stored, skip: number): Stored {
  old.outdated = true
  old.voted = { epoch: old.voted.epoch + skip, primary: undefined }
  for (const [id, member] of lost.members)
    if (!old.members.has(id)) old.members.set(id, { ...member, hadCopy: false })
  return old
}
