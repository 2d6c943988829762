import { agentId, instanceId } from '@understudy/shared/core/ids'
import { mono } from '@understudy/shared/core/time'
import {
  type Certificate,
  COORDINATOR,
  firstProposal,
  forcedChange,
  type Proposal,
  renewal,
  succession,
  turnover,
} from '@understudy/shared/failover/certificate'
import { restoreGroup } from '@understudy/shared/failover/group'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { signProposal } from '@understudy/shared/protocol/vote-signing'
import { signers } from '@understudy/shared/testkit/signers'
import { expect, test } from 'vitest'
import { createHeardCertificates } from './heard-certificates.ts'

const id = agentId('a')
const [p, r, s] = [instanceId('i-aaa'), instanceId('i-bbb'), instanceId('i-ccc')]
const { keyOf, publicKeys, named: member, certify } = signers(p, r, s)
const own = keyOf(COORDINATOR).publicKey
const c1 = certify(firstProposal(id, 1, p, publicKeys(p, COORDINATOR)), COORDINATOR)
const c2 = certify(succession(c1, 2, member(r)), p, COORDINATOR)
const c3 = certify(turnover(c2, 3), p, r)
const c4 = certify(turnover(c3, 4), r, p)

const groupAt = (certificate: Certificate | undefined) =>
  restoreGroup(
    {
      agent: id,
      certificate,
      voted: { epoch: 0, primary: undefined },
      key: own,
      members: [p, r, s].map((instance) => ({ instance, retired: false, hadCopy: true })),
      policy: defaultLeasePolicy,
    },
    mono(0),
  )

test('a chain that was made without us is believed from what we know, link by link', () => {
  const heard = createHeardCertificates(own)
  expect(heard.believed([c2, c3, c4], groupAt(c1))).toEqual({ chain: [c2, c3, c4], why: undefined })
})

test('one that came first vouches for those before it, though nobody here could check them', () => {
  const heard = createHeardCertificates(own)
  const group = groupAt(c2)
  expect(heard.doubt(c4, group)).toBeUndefined()
  expect(heard.doubt(c3, groupAt(c4))).toBeUndefined()
})

test('what is forged is not believed, and takes nothing else with it', () => {
  const heard = createHeardCertificates(own)
  const forged = {
    ...certify(turnover(c3, 4), s),
    votes: c4.votes.map((vote) => ({ ...vote, signature: c3.votes[0]?.signature ?? '' })),
  }
  const { chain, why } = heard.believed([c2, c3, forged], groupAt(c1))
  expect(chain).toEqual([c2, c3])
  expect(why).toContain('votes')
  const other = { ...c2.proposal, agent: agentId('b') }
  expect(heard.doubt(certify(other, p, COORDINATOR), groupAt(c1))).toBe('it is about b')
})

test('a vote is believed by the key that the newest certificate names, and from whom it is', () => {
  const heard = createHeardCertificates(own)
  const proposal = c3.proposal
  const voteBy = (voter: typeof p, key = keyOf(voter)) => ({
    proposal,
    vote: { voter, signature: signProposal(key, proposal), echo: null },
  })
  const group = groupAt(c2)
  expect(heard.doubtVote(p, voteBy(p), group)).toBeUndefined()
  expect(heard.doubtVote(p, voteBy(p, keyOf(r)), group)).toBe('its signature is wrong')
  expect(heard.doubtVote(p, voteBy(r), group)).toBe(`it is the vote of ${r}`)
  expect(heard.doubtVote(s, voteBy(s), group)).toBe(`${s} has no vote in epoch 2`)
  const message = { kind: 'vote' as const, ...voteBy(p, keyOf(s)) }
  expect(heard.doubtMessage(p, message, group)).toBe('its signature is wrong')
  expect(heard.doubtMessage(p, { kind: 'behind', voted: 1, certificate: null }, group)).toBeUndefined()
})

test('a primary gives its epoch to nobody but the successor that it names', () => {
  const heard = createHeardCertificates(own)
  const group = groupAt(c2)
  const release = (proposal: Proposal | undefined, target = r) => {
    if (!proposal) throw new Error('no such change')
    const vote = { voter: p, signature: signProposal(keyOf(p), proposal), echo: null }
    return heard.doubtRelease(p, { target, vote: { proposal, vote } }, group)
  }
  expect(release(turnover(c2, 3))).toBeUndefined()
  expect(release(turnover(c2, 3), s)).toBe(`it is for ${r}, not for ${s}`)
  const no = 'it is no turnover to the successor'
  expect(release(renewal(c2, 3), p)).toBe(no)
  expect(release(forcedChange(c2, 3, member(s)), s)).toBe(no)
  expect(release({ ...turnover(c2, 3), primary: s } as Proposal, s)).toBe(no)
  expect(release({ ...c3.proposal, agent: agentId('b') })).toBe('it is about b')
  // Others have made a certificate of it before the report came.
  expect(heard.doubt(c3, group)).toBeUndefined()
  expect(release(c3.proposal)).toBeUndefined()
})

test('no vote puts in a stranger', () => {
  const heard = createHeardCertificates(own)
  const stranger = { ...c3.proposal, primary: instanceId('i-stranger') }
  const vote = { voter: p, signature: signProposal(keyOf(p), stranger), echo: null }
  expect(heard.doubtVote(p, { proposal: stranger, vote }, groupAt(c2))).toBe('i-stranger is no member')
})
