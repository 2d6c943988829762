import type { AgentId, InstanceId } from '../core/ids.ts'
import type { Millis, Mono } from '../core/time.ts'

/**
 * Who decides for one agent, and what was decided.
 *
 * Three may vote: the primary, its designated successor, and the coordinator. What two of them have signed is a
 * certificate. Each names the one that it follows by its digest, so a certificate can be checked by whoever knows the
 * one before it, without asking anybody. Its number is the epoch.
 */
export const COORDINATOR = 'coordinator'
export type VoterId = InstanceId | typeof COORDINATOR

/** What a certificate certifies. Two voters that propose the same change propose the same content, bit for bit. */
export interface Proposal {
  readonly agent: AgentId
  readonly epoch: number
  /** The certificate that it follows: 0 and '' before the first. */
  readonly previous: { readonly epoch: number; readonly digest: string }
  readonly primary: InstanceId
  /** The replica that votes, and takes over. Without one the primary runs alone and needs no lease. */
  readonly successor: InstanceId | null
  /** The epoch in which `primary` took office; a change of successor leaves it. State streams carry this number. */
  readonly term: number
  /** The coordinator vouches that nobody who could object is left: it decides alone. */
  readonly forced: boolean
  /** Who may vote on what follows: Ed25519 public keys, by voter. */
  readonly keys: Readonly<Record<string, string>>
}

export interface Vote {
  readonly voter: VoterId
  /** Ed25519 over `proposalText`, in base64. */
  readonly signature: string
}

/** A vote for a candidate, with the moment that the voter's promise counts from. */
export interface CastVote extends Vote {
  /** When the candidate sent the message that this answers, on the candidate's own clock; null gives no lease. */
  readonly echo: Mono | null
  /** How long its giver keeps to it; absent: as long as the candidate itself would. */
  readonly promise?: Millis | undefined
}

export interface Certificate {
  readonly proposal: Proposal
  readonly digest: string
  readonly votes: readonly Vote[]
}

/** What is signed and hashed: the same text for the same content. */
export const proposalText = ({
  agent,
  epoch,
  previous,
  primary,
  successor,
  term,
  forced,
  keys,
}: Proposal): string =>
  [
    'understudy-certificate/1',
    agent,
    epoch,
    previous.epoch,
    previous.digest,
    primary,
    successor ?? '-',
    term,
    forced ? 'forced' : 'voted',
    ...Object.keys(keys)
      .sort()
      .map((voter) => `${voter}=${keys[voter]}`),
  ].join('\n')

export type ChangeKind = 'first' | 'turnover' | 'renewal' | 'succession' | 'forced'

/**
 * What a proposal changes of `base`; undefined for what nobody may propose. An epoch changes either who is primary or
 * who may vote, never both: so any two majorities of neighbouring epochs have a voter in common. Keys change only with
 * who may vote, and so only with the coordinator's vote.
 *
 * - `turnover`: the successor becomes primary, and the primary its successor;
 * - `renewal`: the same two again, for a primary that has lost its memory of leases;
 * - `succession`: another successor, or none;
 * - `forced`: any member, when every other voter has ended, has resigned or consents.
 */
export function kindOfChange(proposal: Proposal, base: Certificate | undefined): ChangeKind | undefined {
  const { previous, epoch, primary, successor, term, forced } = proposal
  if (!base)
    return previous.epoch === 0 && term === epoch && successor === null && !forced ? 'first' : undefined
  if (!follows(proposal, base)) return undefined
  const old = base.proposal
  if (forced) return successor === null && term === epoch ? 'forced' : undefined
  if (primary === old.primary && successor !== old.successor)
    return successor !== primary && term === old.term ? 'succession' : undefined
  if (term !== epoch || !haveSameKeys(proposal, old)) return undefined
  if (primary === old.primary) return 'renewal'
  return primary === old.successor && successor === old.primary ? 'turnover' : undefined
}

const follows = ({ agent, epoch, previous }: Proposal, { proposal: old, digest }: Certificate): boolean =>
  agent === old.agent && previous.epoch === old.epoch && previous.digest === digest && epoch > old.epoch

function haveSameKeys({ keys }: Proposal, old: Proposal): boolean {
  if (keys === old.keys) return true
  const voters = Object.keys(old.keys)
  return (
    Object.keys(keys).length === voters.length && voters.every((voter) => keys[voter] === old.keys[voter])
  )
}

/** Whether these votes make it a certificate. A change of who may vote always has the coordinator's. */
export function isElected(
  proposal: Proposal,
  base: Certificate | undefined,
  voters: ReadonlySet<VoterId>,
): boolean {
  switch (kindOfChange(proposal, base)) {
    case 'first':
    case 'forced':
      return voters.has(COORDINATOR)
    case 'succession':
      return voters.has(COORDINATOR) && voters.has(proposal.primary)
    case 'turnover':
    case 'renewal':
      return base !== undefined && votersOf(base.proposal).filter((voter) => voters.has(voter)).length >= 2
    case undefined:
      return false
  }
}

export const votersOf = ({ primary, successor }: Proposal): readonly VoterId[] =>
  successor === null ? [primary, COORDINATOR] : [primary, successor, COORDINATOR]

/** The first certificate of an agent, by the coordinator alone. */
export const firstProposal = (
  agent: AgentId,
  epoch: number,
  primary: InstanceId,
  keys: Readonly<Record<string, string>>,
): Proposal => ({
  agent,
  epoch,
  previous: { epoch: 0, digest: '' },
  primary,
  successor: null,
  term: epoch,
  forced: false,
  keys,
})

const following = ({ proposal, digest }: Certificate, epoch: number): Proposal => ({
  ...proposal,
  epoch,
  previous: { epoch: proposal.epoch, digest },
  forced: false,
})

/** undefined without a successor. */
export function turnover(base: Certificate, epoch: number): Proposal | undefined {
  const { primary, successor } = base.proposal
  if (successor === null) return undefined
  return { ...following(base, epoch), primary: successor, successor: primary, term: epoch }
}

export const renewal = (base: Certificate, epoch: number): Proposal => ({
  ...following(base, epoch),
  term: epoch,
})

export function succession(
  base: Certificate,
  epoch: number,
  next: { readonly instance: InstanceId; readonly key: string } | undefined,
): Proposal {
  const { primary, keys } = base.proposal
  const kept = only(keys, [primary, COORDINATOR])
  return {
    ...following(base, epoch),
    successor: next?.instance ?? null,
    keys: next ? { ...kept, [next.instance]: next.key } : kept,
  }
}

export const forcedChange = (
  base: Certificate,
  epoch: number,
  next: { readonly instance: InstanceId; readonly key: string },
): Proposal => ({
  ...following(base, epoch),
  primary: next.instance,
  successor: null,
  term: epoch,
  forced: true,
  keys: { ...only(base.proposal.keys, [COORDINATOR]), [next.instance]: next.key },
})

const only = (keys: Readonly<Record<string, string>>, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.flatMap((name) => (keys[name] === undefined ? [] : [[name, keys[name]]])))
