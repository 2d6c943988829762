import { createHash } from 'node:crypto'
import { agentId, instanceId } from '../core/ids.ts'
import {
  type Certificate,
  COORDINATOR,
  type Proposal,
  proposalText,
  type VoterId,
} from '../failover/certificate.ts'

export const P = instanceId('i-p')
export const R = instanceId('i-r')
export const Q = instanceId('i-q')
export const AGENT = agentId('a')

export const digestOf = (proposal: Proposal): string =>
  createHash('sha256').update(proposalText(proposal)).digest('hex')

/** Stands for an Ed25519 signature: who checks the real ones does so before any of them gets here. */
export const signatureOf = (voter: VoterId, proposal: Proposal): string =>
  `${voter} signed ${digestOf(proposal)}`

export const keyOf = (voter: VoterId): string => `key of ${voter}`

export function keysOf(...voters: VoterId[]): Record<string, string> {
  const all: VoterId[] = [...voters, COORDINATOR]
  return Object.fromEntries(all.map((voter) => [voter, keyOf(voter)]))
}

export const certificateOf = (proposal: Proposal, ...voters: VoterId[]): Certificate => ({
  proposal,
  digest: digestOf(proposal),
  votes: voters.map((voter) => ({ voter, signature: signatureOf(voter, proposal) })),
})
