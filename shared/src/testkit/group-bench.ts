import type { IncidentId, InstanceId } from '../core/ids.ts'
import { type Mono, millis, mono } from '../core/time.ts'
import { type Certificate, COORDINATOR, type Proposal, turnover } from '../failover/certificate.ts'
import {
  type Group,
  type GroupEffect,
  type GroupEvent,
  type OpenMove,
  restoreGroup,
  stepGroup,
} from '../failover/group.ts'
import { defaultLeasePolicy } from '../failover/lease.ts'
import type { Role } from '../failover/member-types.ts'
import type { VoterMessage } from '../failover/voter-types.ts'
import { AGENT, certificateOf, digestOf, keyOf, P, R, signatureOf } from './certificates.ts'

export { P, Q, R } from './certificates.ts'

interface Stored {
  readonly certificate: Certificate | undefined
  readonly voted?: { readonly epoch: number; readonly primary: InstanceId | undefined }
  readonly move?: OpenMove
  readonly base?: Certificate
}

/** A group whose members do what they are told to in each test, and whose database writes when it is told to. */
export function groupBench(members: readonly InstanceId[] = [P, R]) {
  let now: Mono = mono(0)
  let incidents = 0
  const restored = ({ certificate, voted, move, base }: Stored): Group =>
    restoreGroup(
      {
        agent: AGENT,
        certificate,
        voted: voted ?? {
          epoch: certificate?.proposal.epoch ?? 0,
          primary: certificate?.proposal.primary,
        },
        key: keyOf(COORDINATOR),
        members: certificate ? members.map((instance) => ({ instance, retired: false, hadCopy: true })) : [],
        policy: defaultLeasePolicy,
        ...(move ? { move } : {}),
        base,
      },
      now,
    )
  let group: Group = restored({ certificate: undefined })
  let effects: readonly GroupEffect[] = []
  const step = (event: GroupEvent): readonly GroupEffect[] => {
    const context = { now, newIncident: () => `incident-${++incidents}` as IncidentId, digest: digestOf }
    const next = stepGroup(group, event, context)
    group = next.group
    return next.effects
  }
  const send = (event: GroupEvent) => {
    effects = step(event)
    return effects
  }
  const bench = {
    get group() {
      return group
    },
    set group(next: Group) {
      group = next
    },
    get effects() {
      return effects
    },
    get now() {
      return now
    },
    send,
    restore: (stored: Stored) => {
      group = restored(stored)
      effects = []
      return bench
    },
    kinds: () =>
      effects.map((effect) => {
        if (effect.kind === 'order') return `order:${effect.order.kind}`
        return effect.kind === 'tell' ? `tell:${effect.message.kind}` : effect.kind
      }),
    find: <K extends GroupEffect['kind']>(kind: K) =>
      effects.find((effect): effect is GroupEffect & { kind: K } => effect.kind === kind),
    /** The first voter's message of this kind that was sent in the last step, and to whom. */
    told: <K extends VoterMessage['kind']>(kind: K) =>
      effects
        .flatMap((effect) => (effect.kind === 'tell' ? [effect] : []))
        .flatMap(({ instance, message }) => (message.kind === kind ? [{ instance, message }] : []))
        .find(
          (told): told is { instance: InstanceId; message: VoterMessage & { kind: K } } => told !== undefined,
        ),
    connect: (
      instance: InstanceId,
      role: Role['kind'] = 'idle',
      options: { chain?: readonly Certificate[]; voted?: number; resigned?: number } = {},
    ) =>
      send({
        kind: 'connected',
        instance,
        role,
        epoch: group.epoch,
        sentAt: now,
        key: keyOf(instance),
        chain: options.chain ?? (group.certificate ? [group.certificate] : []),
        voted: options.voted ?? 0,
        resigned: options.resigned ?? 0,
      }),
    /** The database has written the vote that was asked for last. */
    write: () => {
      if (!group.casting) throw new Error('no vote is being written')
      const proposal = 'change' in group.phase ? group.phase.change.proposal : undefined
      const signature = proposal ? signatureOf(COORDINATOR, proposal) : ''
      return send({ kind: 'voted', epoch: group.casting.epoch, signature })
    },
    /** Whoever is asked for a vote gives it. */
    agree: () => {
      if (group.phase.kind !== 'asking') throw new Error(`nobody is asked: ${group.phase.kind}`)
      const { of, change } = group.phase
      const vote = { voter: of, signature: signatureOf(of, change.proposal), echo: null }
      return send({
        kind: 'voter',
        instance: of,
        message: { kind: 'vote', proposal: change.proposal, vote },
      })
    },
    decline: (voted: number, why = 'no') => {
      if (group.phase.kind !== 'asking') throw new Error(`nobody is asked: ${group.phase.kind}`)
      const { epoch } = group.phase.change.proposal
      return send({
        kind: 'voter',
        instance: group.phase.of,
        message: { kind: 'declined', epoch, voted, why },
      })
    },
    /** A certificate that others have made, or the candidate completed. */
    bring: (certificate: Certificate, instance: InstanceId = certificate.proposal.primary) =>
      send({ kind: 'voter', instance, message: { kind: 'certificate', certificate } }),
    /** The candidate adds its own vote to ours. */
    win: () => {
      if (group.phase.kind !== 'electing') throw new Error(`nobody is being elected: ${group.phase.kind}`)
      const { proposal } = group.phase.change
      return bench.bring(certificateOf(proposal, COORDINATOR, proposal.primary))
    },
    beat: (instance: InstanceId, options: { epoch?: number; hears?: boolean; office?: boolean } = {}) =>
      send({
        kind: 'beat',
        instance,
        epoch: options.epoch ?? group.epoch,
        sentAt: now,
        hears: options.hears ?? false,
        office: options.office ?? instance === group.primary,
      }),
    /** The primary names the replicas that receive from it. */
    attach: (...attached: readonly InstanceId[]) => {
      if (!group.primary) throw new Error('there is no primary')
      return send({
        kind: 'status',
        instance: group.primary,
        epoch: group.epoch,
        replicas: attached.map((instance) => ({ instance, attached: true, lagBytes: 0 })),
      })
    },
    /** Time passes with a tick at least every 100 ms, before which those who are `alive` are heard. */
    wait: (length: number, ...alive: readonly InstanceId[]) => {
      const all: GroupEffect[] = []
      for (let left = length; ; ) {
        const part = Math.min(left, 100)
        now = mono(now + part)
        left -= part
        for (const instance of alive) all.push(...bench.beat(instance))
        all.push(...step({ kind: 'tick' }))
        if (left <= 0) break
      }
      effects = all
      return effects
    },
    /** Time passes without a tick. */
    pass: (length: number) => {
      now = mono(now + length)
    },
    promoted: () => {
      if (!group.primary) throw new Error('there is no primary')
      return send({ kind: 'promoted', instance: group.primary, epoch: group.epoch })
    },
    /** The vote with which the primary gives its epoch to the successor. */
    released: (proposal: Proposal = turnoverOf(group)) =>
      send({
        kind: 'released',
        instance: group.primary ?? P,
        epoch: group.epoch,
        target: proposal.primary,
        vote: {
          proposal,
          vote: {
            voter: group.primary ?? P,
            signature: signatureOf(group.primary ?? P, proposal),
            echo: null,
          },
        },
      }),
    /** The first member in office, at epoch 1 and alone. */
    begin: () => {
      for (const instance of members) send({ kind: 'joined', instance })
      bench.connect(P)
      bench.write()
      bench.promoted()
      bench.wait(1100, P)
      return bench
    },
    /** Everything is well: a primary, the others ready, and the first of them its successor, at epoch 2. */
    settle: () => {
      bench.begin()
      const [, ...others] = members
      for (const instance of others) {
        bench.connect(instance)
        send({ kind: 'sync', instance, sync: 'ready' })
        bench.beat(instance)
      }
      bench.attach(...others.slice(0, 1))
      if (group.phase.kind === 'asking') {
        bench.agree()
        bench.write()
      }
      bench.rounds()
      return bench
    },
    /** Everybody is heard for a while, and the primary vouches for its replicas. */
    rounds: (length = millis(450)) => {
      bench.wait(length, ...members)
      bench.attach(...members.filter((instance) => instance !== group.primary))
    },
  }
  return bench
}

export function turnoverOf({ certificate, voted }: Group): Proposal {
  const proposal = certificate && turnover(certificate, Math.max(certificate.proposal.epoch, voted.epoch) + 1)
  if (!proposal) throw new Error('there is no successor')
  return proposal
}
