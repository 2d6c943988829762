import { messageOf } from '@understudy/shared/core/app-error'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { MicroUsd } from '@understudy/shared/core/money'
import { createSerial } from '@understudy/shared/core/serial'
import type { Clock } from '@understudy/shared/core/time'
import { type Certificate, COORDINATOR, type Proposal } from '@understudy/shared/failover/certificate'
import type { GroupEffect, RecordFacts } from '@understudy/shared/failover/group'
import { proposalDigest } from '@understudy/shared/protocol/vote-signing'
import type { Logger } from 'pino'
import type { GroupCommit } from '../storage/group-commit.ts'
import { type CertifiedChange, castVote, type PromotedReplica, recordCertificate } from './certificates.ts'
import type { MoveCause } from './incident-names.ts'
import { untilWritten } from './until-written.ts'

/** Votes and certificates of one agent on their way into the database, in the order in which they came about. */
export interface VoteWriter {
  /** Our vote is in the database, and with it the certificate that it completes; undefined when two certificates clash. */
  cast(effect: GroupEffect & { kind: 'vote' }, cause: MoveCause | null): Promise<Cast | Spent | undefined>
  /** undefined when it is not the newest here, or must not be. */
  record(effect: GroupEffect & { kind: 'record' }, cause: MoveCause | null): Promise<Written | undefined>
  /** Every member has told what it knows: this database is as new as it can be. */
  informed(): Promise<void>
  /** Holds back what is given later, from when everything before is written until `done`. */
  pause(done: Promise<unknown>): Promise<void>
}

interface Cast extends Written {
  readonly kind: 'cast'
  readonly signature: string
}

/** The database has a vote in this epoch, or one that is later. */
interface Spent {
  readonly kind: 'spent'
  readonly voted: number
}

interface Written {
  /** The replica that became primary by it. */
  readonly replica: PromotedReplica | null
}

export function createVoteWriter(
  agent: AgentId,
  parts: {
    readonly commit: GroupCommit
    readonly clock: Clock
    readonly log: Logger
    readonly sign: (proposal: Proposal) => string
    readonly priceOf: (instance: InstanceId) => MicroUsd | null
  },
  signal: AbortSignal,
): VoteWriter {
  const { commit, clock, log, sign, priceOf } = parts
  const inOrder = createSerial()

  /** Until then nothing follows from it. */
  const written = <T>(epoch: number, write: () => Promise<T>): Promise<T> =>
    untilWritten(write, {
      ...{ clock, signal },
      onFailure: (error) => log.error({ event: 'group.vote_not_written', epoch, why: messageOf(error) }),
    })

  const changeOf = (
    certificate: Certificate,
    { incident, previous, fresh }: RecordFacts,
    cause: MoveCause | null,
  ): CertifiedChange => ({
    certificate,
    incident: incident?.id ?? null,
    trigger: incident?.trigger ?? null,
    cause,
    fresh,
    retirePrevious: incident !== undefined && !incident.keepOld && previous === incident.instance,
    priceOf,
  })

  function violation(facts: Record<string, unknown>, hint: string): undefined {
    log.error({ event: 'group.safety_violation', agent, ...facts, hint })
  }

  const conflict = (epoch: number, digest: string, known: string): undefined =>
    violation(
      { epoch, digest, known },
      'Two certificates of one epoch. One of the voters has lost its memory or its key is used twice: stop the agents of this group, keep their voter.json and the database, and find out which.',
    )

  return {
    cast: ({ proposal, votes, record }, cause) =>
      inOrder(async () => {
        const { epoch } = proposal
        const digest = proposalDigest(proposal)
        const signature = sign(proposal)
        const all = [...votes, { voter: COORDINATOR, signature }] as const
        const certificate: Certificate = {
          proposal,
          digest,
          votes: all.map(({ voter, signature: signed }) => ({ voter, signature: signed })),
        }
        const own = { proposal, digest, completes: record && changeOf(certificate, record, cause) }
        const outcome = await written(epoch, () => castVote(commit, clock, own))
        if (outcome.kind === 'conflict') return conflict(epoch, digest, outcome.known)
        if (outcome.kind === 'cast') return { kind: 'cast', replica: outcome.replica, signature }
        // One process owns the database, so only a person can have done this.
        log.error({
          event: 'group.vote_refused',
          epoch,
          found: outcome.epoch,
          hint: 'A vote of this epoch or a later one is in the database, and is not of this coordinator. It votes in later epochs from now on. Find out what else writes there.',
        })
        return { kind: 'spent', voted: outcome.epoch }
      }),
    record: ({ certificate, facts }, cause) =>
      inOrder(async () => {
        const { epoch } = certificate.proposal
        const change = changeOf(certificate, facts, cause)
        const outcome = await written(epoch, () => recordCertificate(commit, clock, change))
        if (outcome.kind === 'conflict') return conflict(epoch, certificate.digest, outcome.known)
        return outcome.kind === 'newest' ? { replica: outcome.replica } : undefined
      }),
    informed: () =>
      inOrder(() =>
        commit.now(async (tx) => {
          await tx.updateTable('agents').set({ outdated: 0 }).where('id', '=', agent).execute()
        }),
      ),
    pause: (done) =>
      new Promise((resolve) => {
        void inOrder(() => {
          resolve()
          return done.catch(() => undefined)
        })
      }),
  }
}
