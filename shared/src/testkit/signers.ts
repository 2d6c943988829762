import type { InstanceId } from '../core/ids.ts'
import { type Certificate, COORDINATOR, type Proposal, type VoterId } from '../failover/certificate.ts'
import { newVoterKey, proposalDigest, signProposal, type VoterKey } from '../protocol/vote-signing.ts'

/** `proposal` with a real vote by each of these keys. */
export const certify = (proposal: Proposal, keys: Readonly<Record<string, VoterKey>>): Certificate => ({
  proposal,
  digest: proposalDigest(proposal),
  votes: Object.entries(keys).map(([voter, key]) => ({
    voter: voter as VoterId,
    signature: signProposal(key, proposal),
  })),
})

/** The coordinator and these instances, each with a key of its own. */
export function signers(...instances: readonly InstanceId[]) {
  const keys = new Map<string, VoterKey>([...instances, COORDINATOR].map((voter) => [voter, newVoterKey()]))
  const keyOf = (voter: VoterId): VoterKey => {
    const key = keys.get(voter)
    if (!key) throw new Error(`no key of ${voter}`)
    return key
  }
  return {
    keyOf,
    /** Their public halves, as a proposal names them. */
    publicKeys: (...voters: readonly VoterId[]): Record<string, string> =>
      Object.fromEntries(voters.map((voter) => [voter, keyOf(voter).publicKey])),
    /** An instance as a proposal is given it. */
    named: (instance: InstanceId) => ({ instance, key: keyOf(instance).publicKey }),
    certify: (proposal: Proposal | undefined, ...voters: readonly VoterId[]): Certificate => {
      if (!proposal) throw new Error('no such change')
      return certify(proposal, Object.fromEntries(voters.map((voter) => [voter, keyOf(voter)])))
    },
  }
}
