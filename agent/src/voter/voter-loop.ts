import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import { between, type Millis, type Mono, millis } from '@understudy/shared/core/time'
import {
  type Certificate,
  COORDINATOR,
  type Proposal,
  type VoterId,
} from '@understudy/shared/failover/certificate'
import { inOffice, leaseOf, startVoter, stepVoter, type Voter } from '@understudy/shared/failover/voter'
import type { Lease, VoterEffect, VoterEvent, VoterMessage } from '@understudy/shared/failover/voter-types'
import type { Degradation } from '@understudy/shared/protocol/link'
import { proposalDigest, signProposal } from '@understudy/shared/protocol/vote-signing'
import type { Guard } from '../guard/guard.ts'
import { mayCampaign } from './campaign.ts'
import { checkMessage } from './checked-messages.ts'
import { type ClockReading, clockDoubt } from './clock-watch.ts'
import { createOnceAMinute } from './once-a-minute.ts'
import type { Command, Level, Note, Standing } from './thread-messages.ts'
import type { VoterFile } from './voter-record.ts'

/** The guard needs time to find and kill everything, so it begins this share of the fence budget before the end. */
const GUARD_SHARE = 1 / 4
/** How long a doubt of the clock shows. */
const DOUBT_SHOWN = millis(10_000)

/** What the loop needs from its thread. */
export interface LoopPorts {
  /** CLOCK_MONOTONIC. */
  readonly now: () => Mono
  /** CLOCK_BOOTTIME. */
  readonly boot: () => Mono
  /** Dropped when there is no connection. */
  readonly send: (to: VoterId, message: VoterMessage) => void
  readonly broadcast: (message: VoterMessage) => void
  readonly tell: (note: Note) => void
  readonly guard: Pick<Guard, 'arm' | 'solo' | 'disarm' | 'degraded'>
  readonly peers: () => ReadonlySet<InstanceId>
  /** Since when there is no connection to the coordinator; undefined while there is one. */
  readonly coordinatorLostAt: () => Mono | undefined
}

/** The others are about connections. */
export type LoopCommand = Extract<Command, { kind: 'release' | 'resign' | 'expose' | 'greeted' | 'prepared' }>

/** Carries out what the voter machine (shared/src/failover/voter.ts) decides. It decides nothing itself. */
export interface VoterLoop {
  readonly certificate: Certificate | undefined
  /** Until the next heartbeat: sooner when a promise ends before, because others wait to hear of that. */
  readonly nextPulse: Millis
  pulse(): void
  /** `data` is what came, unchecked, over the socket of `from`. */
  receive(from: VoterId, data: string): void
  command(command: LoopCommand): void
  /** Something that shows has changed outside: a connection came up or went. */
  changed(): void
}

export function createVoterLoop(
  { agent, self }: { readonly agent: AgentId; readonly self: InstanceId },
  file: VoterFile,
  ports: LoopPorts,
): VoterLoop {
  const { now, boot, tell, guard } = ports
  let voter = startVoter(self, file.memory.record, file.memory.policy, now())
  /** Until the role has said so, a workload of an earlier run may be doing something. */
  let exposed: boolean | undefined
  let looked: ClockReading = { mono: now(), boot: boot() }
  let doubted: { readonly at: Mono; readonly why: string } | undefined
  let strangeKey = false
  let campaignedAt: Mono | undefined
  let toldState = ''
  let preparing: { readonly ask: VoterMessage & { kind: 'ask' }; readonly call: number } | undefined
  let prepared = 0
  let toldLease: Lease = { kind: 'none' }
  const isWorthALine = createOnceAMinute()

  const log = (level: Level, line: Readonly<Record<string, unknown>>) => tell({ kind: 'log', level, line })

  function feed(event: VoterEvent): void {
    const context = {
      now: now(),
      sign: (proposal: Parameters<typeof proposalDigest>[0]) => signProposal(file.key, proposal),
      digest: proposalDigest,
    }
    const step = stepVoter(voter, event, context)
    voter = step.voter
    for (const effect of step.effects) if (effect.kind === 'persist') perform(effect)
    tellState()
    // The role hears of a lease before it hears what it may do with it, and why it loses one before it does.
    if (leaseOf(voter).kind !== 'none') watchLease()
    for (const effect of step.effects) if (effect.kind !== 'persist') perform(effect)
    watchLease()
  }

  function perform(effect: VoterEffect): void {
    switch (effect.kind) {
      case 'persist':
        return file.save({ record: effect.record })
      case 'send':
        return ports.send(effect.to, truthful(effect.message))
      case 'broadcast':
        return ports.broadcast(effect.message)
      default:
        return tell({ kind: 'effect', effect })
    }
  }

  /** That it is out of office is said once nothing can be doing anything: others are elected on that word. */
  const truthful = (message: VoterMessage): VoterMessage =>
    message.kind === 'beat' ? { ...message, office: message.office || exposed !== false } : message

  function watchLease(): void {
    const lease = leaseOf(voter)
    const isSame =
      lease.kind === toldLease.kind &&
      (lease.kind !== 'until' || (toldLease.kind === 'until' && toldLease.at === lease.at))
    if (isSame) return
    toldLease = lease
    const leases = [...voter.leases].map(([from, end]) => ({ voter: from, end }))
    tell({ kind: 'lease', lease, leases })
    if (exposed && lease.kind !== 'none') guardLease(lease)
    // What is not renewed ends when it was going to end: the role has so long to stop the workload in its own way.
  }

  function guardLease(lease: Lease): void {
    if (lease.kind === 'solo') return guard.solo()
    const from = boot()
    const left = lease.kind === 'none' ? 0 : lease.at - now() - voter.policy.fenceBudget * GUARD_SHARE
    guard.arm(millis(left), from)
  }

  function tellState(): void {
    const { record } = voter
    const state = {
      certificate: record.certificate,
      chain: record.chain,
      keepers: keepersOf(record.certificate?.proposal, record.pending, preparing?.ask.proposal),
      voted: record.voted.epoch,
      resigned: record.resigned,
      coordinatorStart: file.memory.coordinatorStart,
      coordinatorStartProof: file.memory.coordinatorStartProof,
      standing: standingOf(voter, now()),
      coordinator: ports.coordinatorLostAt() === undefined,
      peers: [...ports.peers()],
      degraded: degraded(),
    }
    const { certificate, chain: _, ...rest } = state
    const text = `${certificate?.digest} ${JSON.stringify(rest)}`
    if (text === toldState) return
    toldState = text
    tell({ kind: 'state', state })
  }

  function degraded(): Degradation[] {
    const list: Degradation[] = guard.degraded ? [guard.degraded] : []
    if (doubted)
      list.push({
        code: 'clock_in_doubt',
        message: `${doubted.why}: this instance gave no vote and had no lease for a while`.slice(0, 500),
        hint: 'A machine that is suspended, starved of processor time or has its clocks set does so; see what did it.',
      })
    if (strangeKey)
      list.push({
        code: 'coordinator_key_changed',
        message: 'the coordinator signs with another key than the one that this instance believes',
        hint: 'Was its database replaced by a new one? Put the old one back, or remove the data directory here and enrol again.',
      })
    return list
  }

  /**
   * The vote for another successor waits until that one has what was acknowledged to the workload: from then on
   * nothing is acknowledged without it. One that is asked meanwhile is asked again by the coordinator.
   */
  function prepare(ask: VoterMessage & { kind: 'ask' }, target: InstanceId): void {
    if (preparing) return
    prepared += 1
    preparing = { ask, call: prepared }
    tellState()
    tell({ kind: 'prepare', target, call: prepared })
  }

  function onPrepared({ call, ok }: Command & { kind: 'prepared' }): void {
    if (preparing?.call !== call) return
    const { ask } = preparing
    if (ok) feed({ kind: 'message', from: COORDINATOR, message: ask })
    preparing = undefined
    tellState()
  }

  /** Whom the primary in office is asked to make its successor, for the first time. */
  function nextSuccessor(from: VoterId, message: VoterMessage): InstanceId | undefined {
    if (message.kind !== 'ask' || from !== COORDINATOR || !inOffice(voter)) return undefined
    const { proposal } = message
    if (proposal.primary !== self || proposal.term === proposal.epoch || proposal.successor === null)
      return undefined
    return voter.record.voted.digest === proposalDigest(proposal) ? undefined : proposal.successor
  }

  /**
   * Before anything is done: after a suspension timers come late, and what waits in sockets may come before them. It
   * costs some 3 us. Every look is compared with the last pulse, so that what two looks miss adds up.
   */
  function watchClock(isPulse = false): void {
    const reading: ClockReading = { mono: now(), boot: boot() }
    const why = clockDoubt(looked, reading, voter.policy)
    if (isPulse || why !== undefined) looked = reading
    if (why !== undefined) {
      doubted = { at: reading.mono, why }
      log('warn', { event: 'voter.tilt', why })
      feed({ kind: 'tilt' })
    } else if (doubted && between(doubted.at, reading.mono) > DOUBT_SHOWN) doubted = undefined
  }

  function greet(told: Command & { kind: 'greeted' }): void {
    const { policy, coordinatorKey } = told
    const { memory } = file
    const pinned = voter.record.certificate ? memory.coordinatorKey : undefined
    const key = pinned ?? coordinatorKey
    strangeKey = key !== coordinatorKey
    if (strangeKey) log('error', { event: 'voter.coordinator_key_changed' })
    // A number is one coordinator's own: another's would take the place of that which shows what this one has lost.
    const isOther = key !== memory.coordinatorKey
    const isLater =
      told.coordinatorStart > memory.coordinatorStart ||
      (told.coordinatorStart === memory.coordinatorStart && memory.coordinatorStartProof === '')
    const { coordinatorStart, coordinatorStartProof } = !strangeKey && (isOther || isLater) ? told : memory
    const isSame =
      !isOther &&
      coordinatorStart === memory.coordinatorStart &&
      coordinatorStartProof === memory.coordinatorStartProof &&
      JSON.stringify(policy) === JSON.stringify(memory.policy)
    if (!isSame) file.save({ coordinatorKey: key, coordinatorStart, coordinatorStartProof, policy })
    voter = { ...voter, policy }
    tellState()
  }

  return {
    get certificate() {
      return voter.record.certificate
    },
    get nextPulse() {
      const { promise, policy } = voter
      const left = promise ? between(now(), promise.until) : policy.heartbeat
      return left > 0 && left < policy.heartbeat ? millis(left + 1) : policy.heartbeat
    },
    pulse() {
      watchClock(true)
      const facts = {
        now: now(),
        coordinatorLostAt: ports.coordinatorLostAt(),
        peers: ports.peers(),
        triedAt: campaignedAt,
      }
      if (mayCampaign(voter, facts)) {
        campaignedAt = facts.now
        log('info', { event: 'voter.campaign', epoch: voter.record.certificate?.proposal.epoch })
        feed({ kind: 'campaign' })
      }
      feed({ kind: 'pulse' })
    },
    receive(from, data) {
      watchClock()
      const { certificate } = voter.record
      const { coordinatorKey } = file.memory
      const known = { agent, certificate, coordinatorKey, candidate: voter.candidate?.proposal }
      const checked = checkMessage(data, from, known)
      if (checked.ok) {
        const { message } = checked
        const successor = nextSuccessor(from, message)
        return message.kind === 'ask' && successor !== undefined
          ? prepare(message, successor)
          : feed({ kind: 'message', from, message })
      }
      const { kind, why } = checked
      if (isWorthALine(`${from === COORDINATOR} ${kind}`, now()))
        log('warn', { event: 'voter.message_dropped', from, kind, why })
    },
    command(command) {
      watchClock()
      switch (command.kind) {
        case 'release':
          return feed(command)
        case 'resign':
          feed({ kind: 'resign', epoch: command.epoch })
          return tell({ kind: 'done', call: command.call })
        case 'expose':
          exposed = command.exposed
          if (exposed) guardLease(leaseOf(voter))
          else guard.disarm()
          return tell({ kind: 'done', call: command.call })
        case 'greeted':
          return greet(command)
        case 'prepared':
          return onPrepared(command)
      }
    },
    changed: tellState,
  }
}

const keepersOf = (...proposals: readonly (Proposal | undefined)[]): InstanceId[] => [
  ...new Set(proposals.flatMap((proposal) => proposal?.successor ?? [])),
]

function standingOf(voter: Voter, now: Mono): Standing {
  const { self, record, quietUntil, candidate } = voter
  const proposal = record.certificate?.proposal
  if (now < quietUntil) return 'quiet'
  if (candidate) return 'candidate'
  if (inOffice(voter)) return 'in-office'
  if (proposal?.primary === self) return 'resigned'
  return proposal?.successor === self ? 'successor' : 'learner'
}
