import type { InstanceId } from '@understudy/shared/core/ids'
import {
  type CastVote,
  type Certificate,
  COORDINATOR,
  kindOfChange,
  type Proposal,
} from '@understudy/shared/failover/certificate'
import type { Group } from '@understudy/shared/failover/group'
import type { VoterMessage } from '@understudy/shared/failover/voter'
import { checkCertificate, proposalDigest, verifyVote } from '@understudy/shared/protocol/vote-signing'

/** Certificates that are known to be true, by which those that come later are checked. */
export const KEPT = 64

/** Decides which certificates and votes of one agent's members are believed. */
export interface HeardCertificates {
  /** Why it is not believed; undefined when it is, and from then on it vouches for others. */
  doubt(certificate: Certificate, group: Group): string | undefined
  /** Those of a member's chain that are believed, the newest at the end, and why the first of the others is not. */
  believed(
    chain: readonly Certificate[],
    group: Group,
  ): { chain: readonly Certificate[]; why: string | undefined }
  /** Takes what is in the database as true. */
  remember(certificates: readonly Certificate[]): void
  /** Those that lie between an epoch and a certificate: who has missed them could not check it. */
  between(epoch: number, certificate: Certificate): readonly Certificate[]
  /** It has a vote of ours of which we know nothing: our database has lost it. */
  isForgotten(certificate: Certificate, group: Group): boolean
  /** Why an answer of `from` is not believed. What is no answer of a voter to us has nothing to prove. */
  doubtMessage(from: InstanceId, message: VoterMessage, group: Group): string | undefined
  /** The same for a vote of `from`, which the newest certificate must name as a voter. */
  doubtVote(from: InstanceId, vote: { proposal: Proposal; vote: CastVote }, group: Group): string | undefined
  /** The same for the vote by which a primary gives its epoch to `target`: only for the turnover to that one. */
  doubtRelease(from: InstanceId, release: Release, group: Group): string | undefined
}

interface Release {
  readonly target: InstanceId
  readonly vote: { readonly proposal: Proposal; readonly vote: CastVote }
}

export function createHeardCertificates(coordinatorKey: string): HeardCertificates {
  const known = new Map<string, Certificate>()
  /** Digests that certificates which we believe name as what they follow. */
  const vouchedFor = new Set<string>()

  function keep(certificate: Certificate): void {
    known.set(certificate.digest, certificate)
    vouchedFor.add(certificate.proposal.previous.digest)
    const [oldest] = known.values()
    if (known.size <= KEPT || !oldest) return
    known.delete(oldest.digest)
    vouchedFor.delete(oldest.proposal.previous.digest)
  }

  function doubt(certificate: Certificate, group: Group): string | undefined {
    const { proposal, digest } = certificate
    if (proposal.agent !== group.agent) return `it is about ${proposal.agent}`
    if (group.certificate && !known.has(group.certificate.digest)) keep(group.certificate)
    const isTrue = digest === proposalDigest(proposal) && (known.has(digest) || vouchedFor.has(digest))
    const base = known.get(proposal.previous.digest) ?? group.certificate
    const why = isTrue ? undefined : checkCertificate(certificate, base, coordinatorKey)
    if (why === undefined) keep(certificate)
    return why
  }

  function doubtVote(
    from: InstanceId,
    { proposal, vote }: { proposal: Proposal; vote: CastVote },
    group: Group,
  ): string | undefined {
    if (proposal.agent !== group.agent) return `it is about ${proposal.agent}`
    if (vote.voter !== from) return `it is the vote of ${vote.voter}`
    if (!group.members.has(proposal.primary)) return `${proposal.primary} is no member`
    const keys = group.certificate?.proposal.keys ?? {}
    const key = Object.hasOwn(keys, from) ? keys[from] : undefined
    if (key === undefined) return `${from} has no vote in epoch ${group.epoch}`
    return verifyVote(key, proposal, vote.signature) ? undefined : 'its signature is wrong'
  }

  function doubtRelease(from: InstanceId, { target, vote }: Release, group: Group): string | undefined {
    const { proposal } = vote
    if (proposal.agent !== group.agent) return `it is about ${proposal.agent}`
    if (proposal.primary !== target) return `it is for ${proposal.primary}, not for ${target}`
    // Known already: others have made a certificate of it, and nothing follows from it any more.
    const isMade =
      known.has(proposalDigest(proposal)) || group.certificate?.digest === proposalDigest(proposal)
    const base = known.get(proposal.previous.digest) ?? group.certificate
    if (!isMade && kindOfChange(proposal, base) !== 'turnover') return 'it is no turnover to the successor'
    return doubtVote(from, vote, group)
  }

  /** Each vouches for what it follows, and by its keys for what follows it: so once forwards and once backwards. */
  function believed(chain: readonly Certificate[], group: Group) {
    const forwards = chain.filter((certificate) => doubt(certificate, group) === undefined)
    const rest = chain.filter((certificate) => !forwards.includes(certificate)).toReversed()
    const doubted = rest.flatMap((certificate) => doubt(certificate, group) ?? [])
    const inOrder = chain
      .filter(({ digest }) => known.has(digest))
      .toSorted((a, b) => a.proposal.epoch - b.proposal.epoch)
    return { chain: inOrder, why: doubted[0] }
  }

  return {
    doubt,
    believed,
    remember(certificates) {
      for (const certificate of certificates) keep(certificate)
    },
    between: (epoch, certificate) =>
      [...known.values()]
        .filter(({ proposal }) => proposal.epoch > epoch && proposal.epoch < certificate.proposal.epoch)
        .toSorted((a, b) => a.proposal.epoch - b.proposal.epoch),
    isForgotten: ({ proposal, votes }, group) =>
      proposal.epoch > group.voted.epoch &&
      votes.some(
        ({ voter, signature }) => voter === COORDINATOR && verifyVote(coordinatorKey, proposal, signature),
      ),
    doubtVote,
    doubtRelease,
    doubtMessage(from, message, group) {
      if (message.kind === 'vote') return doubtVote(from, message, group)
      const certificate = 'certificate' in message ? message.certificate : null
      return certificate ? doubt(certificate, group) : undefined
    },
  }
}
