import { expect, it } from 'vitest'
import type { AgentId, InstanceId } from '../core/ids.ts'
import {
  COORDINATOR,
  firstProposal,
  forcedChange,
  renewal,
  succession,
  turnover,
} from '../failover/certificate.ts'
import { signers } from '../testkit/signers.ts'
import {
  checkCertificate,
  proposalDigest,
  readVoterKey,
  signProposal,
  verifyVote,
  voterKeyPem,
} from './vote-signing.ts'
import { certificateSchema, voterKeySchema } from './voter-messages.ts'

const a = 'i-aaa' as InstanceId
const b = 'i-bbb' as InstanceId
const { keyOf, publicKeys, certify } = signers(a, b)
const coordinatorKey = keyOf(COORDINATOR).publicKey
const first = certify(firstProposal('one' as AgentId, 1, a, publicKeys(a, COORDINATOR)), COORDINATOR)
const second = certify(succession(first, 2, { instance: b, key: keyOf(b).publicKey }), a, COORDINATOR)

it('a key survives being written down, and its votes are those of its public half only', () => {
  const key = keyOf(a)
  const again = readVoterKey(voterKeyPem(key))
  expect(again.publicKey).toBe(key.publicKey)
  expect(voterKeySchema.parse(key.publicKey)).toBe(key.publicKey)
  const signature = signProposal(again, second.proposal)
  expect(verifyVote(key.publicKey, second.proposal, signature)).toBe(true)
  expect(verifyVote(keyOf(b).publicKey, second.proposal, signature)).toBe(false)
  expect(verifyVote(key.publicKey, { ...second.proposal, epoch: 3 }, signature)).toBe(false)
  expect(verifyVote('nonsense', second.proposal, signature)).toBe(false)
  expect(verifyVote(key.publicKey, second.proposal, 'nonsense')).toBe(false)
  expect(() => readVoterKey('nonsense')).toThrow()
})

it('what follows the known certificate needs the votes that its kind of change needs', () => {
  expect(certificateSchema.parse(second)).toEqual(second)
  expect(checkCertificate(first, undefined, coordinatorKey)).toBeUndefined()
  expect(checkCertificate(second, first, undefined)).toBeUndefined()
  const alone = certify(second.proposal, COORDINATOR)
  expect(checkCertificate(alone, first, coordinatorKey)).toMatch(/votes/)
  const turned = certify(turnover(second, 3), a, b)
  expect(checkCertificate(turned, second, undefined)).toBeUndefined()
  expect(checkCertificate(certify(turned.proposal, b), second, coordinatorKey)).toMatch(/votes/)
  const forced = certify(forcedChange(second, 4, { instance: b, key: keyOf(b).publicKey }), COORDINATOR)
  expect(checkCertificate(forced, second, undefined)).toBeUndefined()
  expect(checkCertificate(certify(forced.proposal, a, b), second, coordinatorKey)).toMatch(/votes/)
})

it('elections among the same voters are believed without what lies between', () => {
  const third = certify(turnover(second, 3), a, b)
  const fourth = certify(renewal(third, 4), a, b)
  expect(checkCertificate(fourth, second, undefined)).toBeUndefined()
  expect(checkCertificate(certify(fourth.proposal, b), second, coordinatorKey)).toMatch(/lacks the vote/)
  expect(checkCertificate(fourth, undefined, coordinatorKey)).toMatch(/lacks the vote/)
  expect(checkCertificate(fourth, undefined, undefined)).toMatch(/not known/)
  const others = certify(
    { ...fourth.proposal, keys: { ...fourth.proposal.keys, [b]: keyOf(a).publicKey } },
    a,
    b,
  )
  expect(checkCertificate(others, second, undefined)).toMatch(/not known/)
})

it('a certificate with the vote of the coordinator is believed without the one before, if somebody else voted too', () => {
  expect(checkCertificate(second, undefined, coordinatorKey)).toBeUndefined()
  expect(checkCertificate(certify(second.proposal, COORDINATOR), undefined, coordinatorKey)).toMatch(/votes/)
  expect(checkCertificate(second, undefined, keyOf(a).publicKey)).toMatch(/lacks the vote/)
  const forced = certify(forcedChange(second, 9, { instance: b, key: keyOf(b).publicKey }), COORDINATOR)
  expect(checkCertificate(forced, first, coordinatorKey)).toBeUndefined()
})

it('refuses what was changed after it was signed, and what is about another agent', () => {
  const changed = { ...second, proposal: { ...second.proposal, successor: null } }
  expect(checkCertificate(changed, first, coordinatorKey)).toMatch(/digest/)
  expect(
    checkCertificate({ ...changed, digest: proposalDigest(changed.proposal) }, first, coordinatorKey),
  ).toMatch(/votes/)
  const other = certify(firstProposal('two' as AgentId, 5, a, first.proposal.keys), COORDINATOR)
  expect(checkCertificate(other, second, coordinatorKey)).toMatch(/another agent/)
})

it('names of keys are names of voters: the text that is signed has one reading', () => {
  const odd = { ...first, proposal: { ...first.proposal, keys: { [`${a}=x\n${b}`]: coordinatorKey } } }
  expect(certificateSchema.safeParse(odd).success).toBe(false)
})
