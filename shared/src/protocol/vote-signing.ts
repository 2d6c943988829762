import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import {
  type Certificate,
  COORDINATOR,
  isElected,
  type Proposal,
  proposalText,
  type Vote,
  type VoterId,
  votersOf,
} from '../failover/certificate.ts'

/** Ed25519 (RFC 8032) over `proposalText`: how votes are signed, and when a certificate is believed. Not for browsers. */
export interface VoterKey {
  /** The raw 32 bytes in base64url, as `voterKeySchema`. */
  readonly publicKey: string
  readonly privateKey: KeyObject
}

export const newVoterKey = (): VoterKey => withPublic(generateKeyPairSync('ed25519').privateKey)

/** @throws Error for text that is no Ed25519 private key */
export function readVoterKey(pem: string): VoterKey {
  const privateKey = createPrivateKey(pem)
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new Error('it is no Ed25519 key')
  return withPublic(privateKey)
}

/** PKCS #8. A secret. */
export const voterKeyPem = ({ privateKey }: VoterKey): string =>
  privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

const withPublic = (privateKey: KeyObject): VoterKey => ({
  privateKey,
  publicKey: createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '',
})

/** In base64. */
export const signProposal = ({ privateKey }: VoterKey, proposal: Proposal): string =>
  sign(null, Buffer.from(proposalText(proposal)), privateKey).toString('base64')

/** SHA-256 in hex. */
export const proposalDigest = (proposal: Proposal): string =>
  createHash('sha256').update(proposalText(proposal)).digest('hex')

/** False also for a key or a signature that is none. */
export function verifyVote(publicKey: string, proposal: Proposal, signature: string): boolean {
  try {
    const text = Buffer.from(proposalText(proposal))
    return verify(null, text, keyObjectOf(publicKey), Buffer.from(signature, 'base64'))
  } catch {
    return false
  }
}

/** Read before: a key is used for many votes, and to read it takes longer than to check one of them. */
const keyObjects = new Map<string, KeyObject>()
const MOST_KEYS = 2000

function keyObjectOf(publicKey: string): KeyObject {
  const known = keyObjects.get(publicKey)
  if (known) return known
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: publicKey }, format: 'jwk' })
  if (keyObjects.size >= MOST_KEYS) keyObjects.clear()
  keyObjects.set(publicKey, key)
  return key
}

/**
 * Why a certificate is not to be believed; undefined when it is. `known` is the newest that the reader believes,
 * whether or not this one follows it directly:
 *
 * - what follows `known`: enough votes by the keys that `known` names;
 * - what follows something unknown, under the same keys: only elections among the same voters lie between, as every
 *   change of keys needs the coordinator's vote; so two votes by those keys;
 * - anything else: the coordinator's vote by `coordinatorKey`, and where it does not decide alone one more by the
 *   keys that it has signed.
 */
export function checkCertificate(
  certificate: Certificate,
  known: Certificate | undefined,
  coordinatorKey: string | undefined,
): string | undefined {
  const { proposal, digest, votes } = certificate
  if (digest !== proposalDigest(proposal)) return 'its digest is not that of its content'
  if (known && known.proposal.agent !== proposal.agent) return 'it is about another agent'
  if (known && digest === known.digest) return undefined
  if (known?.digest === proposal.previous.digest && known.proposal.epoch === proposal.previous.epoch)
    return isElected(proposal, known, signers(proposal, votes, known.proposal.keys))
      ? undefined
      : 'it does not have the votes that it needs'
  if (known && isElectedUnder(certificate, known)) return undefined
  if (coordinatorKey === undefined) return 'it follows one that is not known here'
  const trusted = signers(proposal, votes, { ...proposal.keys, [COORDINATOR]: coordinatorKey })
  if (!trusted.has(COORDINATOR))
    return 'it follows one that is not known here, and lacks the vote of the coordinator'
  if (proposal.previous.epoch === 0)
    return isElected(proposal, undefined, trusted) ? undefined : 'it is no first certificate'
  return proposal.forced || trusted.size >= 2 ? undefined : 'it does not have the votes that it needs'
}

/** Later, by two of the voters of `known`, among whom nothing but the office has changed. */
function isElectedUnder({ proposal, votes }: Certificate, known: Certificate): boolean {
  const { keys, epoch } = known.proposal
  const voters = votersOf(known.proposal)
  const own = votersOf(proposal)
  const areSame = own.length === voters.length && own.every((voter) => voters.includes(voter))
  const haveSameKeys =
    Object.keys(proposal.keys).length === Object.keys(keys).length &&
    Object.entries(keys).every(([voter, key]) => proposal.keys[voter] === key)
  if (proposal.forced || proposal.epoch <= epoch || !areSame || !haveSameKeys) return false
  const signed = signers(proposal, votes, keys)
  return voters.filter((voter) => signed.has(voter)).length >= 2
}

/** Those whose signature holds. */
const signers = (
  proposal: Proposal,
  votes: readonly Vote[],
  keys: Readonly<Record<string, string>>,
): ReadonlySet<VoterId> =>
  new Set(
    votes
      .filter(({ voter, signature }) => {
        const key = Object.hasOwn(keys, voter) ? keys[voter] : undefined
        return key !== undefined && verifyVote(key, proposal, signature)
      })
      .map(({ voter }) => voter),
  )
