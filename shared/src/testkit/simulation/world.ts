import { type InstanceId, instanceId } from '../../core/ids.ts'
import { seededRandom } from '../../core/random.ts'
import { millis } from '../../core/time.ts'
import type { Proposal } from '../../failover/certificate.ts'
import type { GroupEvent } from '../../failover/group.ts'
import { defaultLeasePolicy, type LeasePolicy } from '../../failover/lease.ts'
import { inOffice } from '../../failover/voter.ts'
import { createEventQueue } from '../event-queue.ts'
import { createCenter } from './center.ts'
import { createCoverage } from './coverage.ts'
import { endInstance, killAgent } from './endings.ts'
import { applyFault, drawFaults } from './faults.ts'
import { clockOf, createInstance, isActive, on, simulatedIncident } from './instance.ts'
import { createJudge } from './judge.ts'
import { createLinks } from './links.ts'
import { createNetwork } from './network.ts'
import type { WorldOptions, WorldResult } from './options.ts'
import { createDeputy, drawRecommendations } from './policies.ts'
import { toMember } from './roles.ts'
import { pulse, sendVoter, toVoter } from './votes.ts'
import type { Center, Instance, World } from './world-parts.ts'

/**
 * The real failover core of one agent, member, voter and coordinator, on a virtual network and a virtual clock: three
 * instances or more, with everything that can go wrong, all from one seed. What breaks an invariant of failover.md is in
 * `violations`.
 */
export const DURATION = 14_000
/** Of all messages. */
const LATE = 0.07
/** After the last fault somebody must be primary within this. */
const RECOVERY = 45_000
/** And the last of the standbys that are to be kept is ready so long after. */
const MAKING = 20_000

export function runWorld(options: WorldOptions): WorldResult {
  const { seed, sabotage } = options
  const duration = options.duration ?? DURATION
  const policy = policyOf(options)
  const queue = createEventQueue()
  const random = seededRandom(seed)
  const trace: string[] = []
  const note = (text: string) => {
    if (options.keepTrace) trace.push(`${queue.now.toFixed(0).padStart(7)} ${text}`)
  }
  const coverage = createCoverage()
  const instances = new Map<InstanceId, Instance>()
  const judge = createJudge(
    seed,
    () => queue.now,
    note,
    coverage.hit,
    (id, epoch) => {
      const instance = instances.get(id)
      return instance === undefined || instance.gone || instance.voter.record.resigned >= epoch
    },
  )
  const counts = { suspensions: 0, longestGap: 0, lastServed: 0, wasServed: false }
  let born = 0

  const world: World = {
    queue,
    random,
    policy,
    network: createNetwork(queue, random, options.calmNetwork ? undefined : (options.lateMessages ?? LATE)),
    judge,
    sabotage,
    instances,
    get center(): Center {
      return center
    },
    get deputy() {
      return deputy
    },
    digest: digestOf,
    toVoter: (instance, event) => toVoter(world, instance, event),
    toMember: (instance, event) => toMember(world, instance, event),
    send: (from, to, message) => sendVoter(world, from, to, message),
    note,
    hit: coverage.hit,
    changed: check,
    leased,
    suspended: (instance) => {
      counts.suspensions += 1
      note(`${instance.id} is suspended`)
    },
    kill: (instance, why) => killAgent(world, links, instance, why),
    sayCopy: (instance) =>
      links.up(instance, { kind: 'sync', instance: instance.id, sync: instance.whole ? 'ready' : 'syncing' }),
    toCenter: (instance, event: GroupEvent, reportId) => links.up(instance, event, reportId),
    follows,
    hasEverything: (primary, replica) => {
      const other = instances.get(replica)
      return other !== undefined && isInStep(other, primary)
    },
    tilt: (instance) => toVoter(world, instance, { kind: 'tilt' }),
    moveByItself,
    tookOver: (instance) => {
      const { certificate } = instance.voter.record
      if (!certificate) return
      const previous = judge.certificates.get(certificate.proposal.previous.digest)?.proposal.primary
      const old = previous === undefined ? undefined : instances.get(previous)
      const left = [...instances.values()].filter(({ gone, partial }) => !gone && !partial)
      judge.tookOver(certificate, instance.data, old?.data ?? 0, Math.max(...left.map(({ data }) => data)))
    },
  }
  const links = createLinks(world)
  const drift = () =>
    sabotage === 'no-drift-margin'
      ? random() < 0.5
        ? 0.95
        : 1.05
      : 1 + (random() * 2 - 1) * policy.drift * 0.9
  const center = createCenter(
    world,
    {
      spare: () => (deputy ? deputy.wanted() : spareInstance()),
      tick: () => deputy?.tick(),
      travelDown: links.down,
      unlink: links.drop,
    },
    drift(),
  )

  const deputy =
    options.policies &&
    createDeputy(world, options.policies, seed, {
      launch: newInstance,
      end: (instance, why) => endInstance(world, links, instance, why),
    })

  function spareInstance(): void {
    const alive = [...instances.values()].filter((instance) => !instance.gone && !instance.noticed)
    if (alive.length < 3) newInstance()
  }

  function newInstance(): InstanceId {
    born += 1
    const instance = createInstance(world, instanceId(`i-${born}`), drift())
    instances.set(instance.id, instance)
    center.joined(instance.id)
    links.open(instance)
    pulse(world, instance)
    work(instance)
    status(instance)
    return instance.id
  }

  /** What the agent does about a notice that nobody answers: it hands over to its successor itself. */
  function moveByItself(instance: Instance, left: number): void {
    queue.at(queue.now + 800 + random() * 800, () =>
      on(instance, () => {
        const { member, voter } = instance
        const target = voter.record.certificate?.proposal.successor
        if (instance.gone || member.role.kind !== 'primary' || target == null) return
        if (!follows(target, instance) || instance.linked) return
        world.hit('moves by itself')
        toMember(world, instance, {
          kind: 'order',
          order: {
            kind: 'hand-over',
            epoch: member.epoch,
            target,
            incident: simulatedIncident(1000 + member.epoch),
            budget: millis(Math.max(500, left - 1500)),
            urgent: true,
          },
        })
      }),
    )
  }

  function follows(target: InstanceId, primary: Instance): boolean {
    const other = instances.get(target)
    if (!other?.up || other.asleep || primary.asleep || !primary.up) return false
    return (
      other.following === primary.id &&
      !world.network.isCut(target, primary.id) &&
      !world.network.isCut(primary.id, target)
    )
  }

  const isInStep = (replica: Instance, primary: Instance): boolean =>
    follows(replica.id, primary) &&
    replica.catchUp >= 1 &&
    replica.member.term === primary.member.term &&
    replica.data >= primary.data - 1

  /** The workload's own time: it counts while it runs, replicas follow. */
  function work(instance: Instance): void {
    queue.at(queue.now + 80 + random() * 40, () => {
      if (instance.gone) return
      if (instance.running && instance.asleep !== 'machine') instance.data += 1
      if (instance.up && !instance.asleep) {
        replicate(instance)
        acknowledge(instance)
      }
      work(instance)
    })
  }

  function replicate(replica: Instance): void {
    const primary = replica.following === undefined ? undefined : instances.get(replica.following)
    if (!primary || replica.member.role.kind !== 'replica' || !follows(replica.id, primary)) return
    const { role, term } = primary.member
    if ((role.kind !== 'primary' && role.kind !== 'handing-over') || term !== replica.member.term) return
    // Where too much is another, files are put in place one by one: until the last of them it is a mixture.
    if (replica.catchUp === 0 && replica.whole && random() < 0.1) {
      Object.assign(replica, { whole: false, partial: true })
      world.sayCopy(replica)
    }
    const isBehind = replica.catchUp < 1
    replica.catchUp = Math.min(1, replica.catchUp + (replica.whole ? 0.5 : 0.1))
    if (replica.catchUp < 1) return
    replica.data = primary.data
    if (!isBehind || replica.whole) return
    Object.assign(replica, { whole: true, partial: false })
    world.sayCopy(replica)
  }

  /** commit(): a client is told so once whoever could be elected has it. */
  function acknowledge(primary: Instance): void {
    if (primary.member.role.kind !== 'primary' || !primary.running || !inOffice(primary.voter)) return
    const { certificate, pending } = primary.voter.record
    const needed = [certificate?.proposal.successor, pending?.successor].filter((id) => id != null)
    if (needed.length === 0 || primary.lease.kind !== 'until' || clockOf(world, primary) >= primary.lease.at)
      return
    const holders = needed.map((id) => instances.get(id))
    if (!holders.every((holder) => holder && isInStep(holder, primary))) return
    judge.committed(Math.min(...holders.map((holder) => holder?.data ?? 0)))
  }

  function status(instance: Instance): void {
    queue.at(queue.now + 400 + random() * 200, () => {
      if (instance.gone) return
      on(instance, () => {
        if (instance.member.role.kind === 'primary' || instance.member.role.kind === 'handing-over')
          links.up(instance, {
            kind: 'status',
            instance: instance.id,
            epoch: instance.member.epoch,
            replicas: [...instances.values()]
              .filter((other) => other.following === instance.id)
              .map((other) => ({
                instance: other.id,
                attached: follows(other.id, instance) && other.catchUp >= 1,
                lagBytes: instance.data - other.data,
              })),
          })
      })
      status(instance)
    })
  }

  function check(): void {
    const active = [...instances.values()].filter(isActive)
    if (active.length > 1)
      judge.violate(
        `I2: two active: ${active.map(({ id, member }) => `${id}@${member.epoch} ${member.role.kind}`).join(', ')}`,
      )
    for (const instance of active) checkLease(instance)
    const isServed = active.length > 0
    if (counts.wasServed && isServed && queue.now < duration)
      counts.longestGap = Math.max(counts.longestGap, queue.now - counts.lastServed)
    if (isServed) {
      counts.lastServed = queue.now
      counts.wasServed = true
    }
  }

  /** What leases promise, and stronger than I2: one at a time has any, whatever it does with it. */
  function leased(instance: Instance): void {
    if (!holdsLease(instance)) return
    for (const other of instances.values())
      if (other !== instance && holdsLease(other))
        judge.violate(
          `I2: two with a lease: ${instance.id}@${instance.member.epoch}, ${other.id}@${other.member.epoch}`,
        )
  }

  function holdsLease(instance: Instance): boolean {
    const { lease, up, gone, asleep } = instance
    if (lease.kind === 'none' || !up || gone || asleep === 'machine') return false
    return lease.kind === 'solo' || clockOf(world, instance) < lease.at
  }

  /** I5, I10: nothing of the workload runs without an office, or beyond the lease. */
  function checkLease(instance: Instance): void {
    if (instance.asleep === 'agent' || !instance.up) return
    if (
      !inOffice(instance.voter) &&
      instance.member.role.kind !== 'fenced' &&
      instance.member.role.kind !== 'idle'
    )
      judge.violate(`I5: ${instance.id} runs as ${instance.member.role.kind} without its office`)
  }

  const isAlive = (): boolean => {
    const { primary, phase } = center.group
    const owner = primary === undefined ? undefined : instances.get(primary)
    return center.up && phase.kind === 'steady' && owner !== undefined && isActive(owner)
  }

  const faults = options.faults ?? [
    ...drawFaults(seed, duration),
    ...(options.policies ? drawRecommendations(seed, duration) : []),
  ]
  for (const fault of faults)
    queue.at(fault.at, () => {
      world.hit('fault', fault.kind)
      applyFault(world, links, fault)
    })
  spareInstance()
  if (!deputy) {
    queue.at(300, spareInstance)
    queue.at(600, spareInstance)
  }
  let sound = true
  const step = (until: number): boolean => {
    const went = queue.step(until)
    if (judge.violations.length > 0) sound = false
    return went && sound
  }
  while (step(duration));
  recover()
  checkRecords()

  /** Without faults somebody serves before long, with the standbys that are to be kept. */
  function recover(): void {
    // A replica is made until there are enough, as the product does.
    queue.at(duration + 1000, spareInstance)
    queue.at(duration + 5000, spareInstance)
    while (sound && !isAlive() && step(duration + RECOVERY));
    if (sound && !isAlive())
      judge.violate(`nobody is primary at the end: ${center.group.phase.kind} of ${center.group.primary}`)
    const keeps = () => deputy === undefined || (isAlive() && deputy.isSatisfied())
    while (sound && !keeps() && step(duration + RECOVERY + MAKING));
    if (sound && !keeps()) judge.violate('P3: fewer standbys are ready in the end than are to be kept')
  }

  function checkRecords(): void {
    // The last records may still be on their way.
    const settled = queue.now + 2000
    while (sound && step(settled));
    const unrecorded = () => judge.unrecorded(center.group.certificate, center.isRecorded)
    while (sound && center.up && unrecorded() !== undefined && step(settled + 3000));
    // What a restored database has lost, nobody may remember.
    const isWhole = !faults.some(({ kind }) => kind === 'coordinator-restored')
    if (!sound || !isWhole || !center.up) return
    const missing = unrecorded()
    if (missing !== undefined) judge.violate(`I9: epoch ${missing} was never recorded`)
    judge.checkLosses(center.opened)
  }

  const certificates = [...judge.certificates.values()]
  const kinds = certificates.map(({ proposal, votes }) => ({
    isTerm: proposal.term === proposal.epoch,
    byPrimary: votes.some(({ voter }) => voter === proposal.successor),
  }))
  return {
    seed,
    violations: judge.violations,
    ...(options.keepTrace ? { group: center.group } : {}),
    elections: kinds.filter(({ isTerm }) => isTerm).length,
    handoffs: kinds.filter(({ isTerm, byPrimary }) => isTerm && byPrimary).length,
    successions: kinds.filter(({ isTerm }) => !isTerm).length,
    certificates,
    closed: center.closed,
    coverage: coverage.counts(),
    suspensions: counts.suspensions,
    trace,
    faults,
    longestGap: counts.longestGap,
  }
}

const policyOf = ({ policy = defaultLeasePolicy, sabotage }: WorldOptions): LeasePolicy =>
  sabotage === 'no-drift-margin' ? { ...policy, drift: 0 } : policy

const digestOf = ({ epoch, primary, successor, previous, forced }: Proposal): string =>
  `${epoch}|${primary}|${successor}|${previous.epoch}|${forced}`
