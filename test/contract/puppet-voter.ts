import type { InstanceId } from '@understudy/shared/core/ids'
import type { Mono } from '@understudy/shared/core/time'
import { type Certificate, COORDINATOR, type VoterId } from '@understudy/shared/failover/certificate'
import { defaultLeasePolicy, type LeasePolicy } from '@understudy/shared/failover/lease'
import {
  leaseOf,
  startVoter,
  stepVoter,
  type Voter,
  type VoterEffect,
  type VoterEvent,
  type VoterMessage,
  type VoterRecord,
} from '@understudy/shared/failover/voter'
import {
  checkCertificate,
  newVoterKey,
  proposalDigest,
  signProposal,
  type VoterKey,
  verifyVote,
} from '@understudy/shared/protocol/vote-signing'

/** What an instance keeps over a restart of its daemon. */
export interface PuppetDisk {
  readonly key: VoterKey
  record: VoterRecord | undefined
  /** The highest number of a start that a coordinator has told. */
  coordinatorStart: number
  coordinatorStartProof: string
}

/** Voters of one agent reach each other without a network; by instance. */
export type PuppetPeers = Map<InstanceId, (from: InstanceId, message: VoterMessage) => void>

/** The real voter machine of one instance, with real signatures, around a socket that the puppet has. */
export interface PuppetVoter {
  readonly voter: Voter
  readonly lease: ReturnType<typeof leaseOf>
  step(event: VoterEvent): void
  /** From the coordinator, whose votes and certificates must hold. */
  hear(message: VoterMessage): void
  welcome(policy: LeasePolicy, key: string, start: number, proof: string): void
  /** It says nothing and hears nothing any more. */
  silence(): void
}

export const newPuppetDisk = (): PuppetDisk => ({
  key: newVoterKey(),
  record: undefined,
  coordinatorStart: 0,
  coordinatorStartProof: '',
})

export function createPuppetVoter(parts: {
  readonly self: InstanceId
  readonly disk: PuppetDisk
  readonly peers: PuppetPeers
  readonly now: () => Mono
  /** To the coordinator. */
  readonly send: (message: VoterMessage) => void
  readonly onEffect: (effect: VoterEffect) => void
}): PuppetVoter {
  const { self, disk, peers, now, send, onEffect } = parts
  let voter = startVoter(self, disk.record, defaultLeasePolicy, now())
  let coordinatorKey: string | undefined
  let silent = false

  const context = () => ({
    now: now(),
    sign: (proposal: Certificate['proposal']) => signProposal(disk.key, proposal),
    digest: proposalDigest,
  })

  function deliver(to: VoterId, message: VoterMessage): void {
    if (to === COORDINATOR) return send(message)
    const receive = peers.get(to)
    // As over a wire: a copy, and later.
    if (receive) setImmediate(() => receive(self, structuredClone(message)))
  }

  function step(event: VoterEvent): void {
    if (silent) return
    const { voter: next, effects } = stepVoter(voter, event, context())
    voter = next
    for (const effect of effects) carryOut(effect)
  }

  function carryOut(effect: VoterEffect): void {
    if (effect.kind === 'persist') disk.record = effect.record
    else if (effect.kind === 'send') deliver(effect.to, effect.message)
    else if (effect.kind === 'broadcast')
      for (const peer of peers.keys()) {
        if (peer !== self) deliver(peer, effect.message)
      }
    else onEffect(effect)
  }

  function assertGenuine(certificate: Certificate | null): void {
    // What others have told already may come later from here.
    if (!certificate || voter.record.chain.some(({ digest }) => digest === certificate.digest)) return
    const why = checkCertificate(certificate, voter.record.certificate, coordinatorKey)
    if (why !== undefined)
      throw new Error(
        `the coordinator sent a certificate to ${self} that does not hold: ${why} ${JSON.stringify([certificate, voter.record.chain])}`,
      )
  }

  const receive = (from: InstanceId, message: VoterMessage) => step({ kind: 'message', from, message })
  peers.set(self, receive)

  return {
    get voter() {
      return voter
    },
    get lease() {
      return leaseOf(voter)
    },
    step,
    hear(message) {
      // Nothing can be checked before the welcome, which comes on another socket.
      if (coordinatorKey === undefined) return
      if ('certificate' in message) assertGenuine(message.certificate)
      if ('base' in message) assertGenuine(message.base)
      if (message.kind === 'votes')
        for (const { voter: id, signature } of message.votes)
          if (id === COORDINATOR && !verifyVote(coordinatorKey, message.proposal, signature))
            throw new Error(`the coordinator's vote in epoch ${message.proposal.epoch} does not hold`)
      step({ kind: 'message', from: COORDINATOR, message })
    },
    welcome(policy, key, start, proof) {
      coordinatorKey = key
      if (start > disk.coordinatorStart)
        Object.assign(disk, { coordinatorStart: start, coordinatorStartProof: proof })
      voter = { ...voter, policy }
    },
    silence() {
      silent = true
      if (peers.get(self) === receive) peers.delete(self)
    },
  }
}
