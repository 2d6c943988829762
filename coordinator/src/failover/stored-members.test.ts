import { agentId, instanceId } from '@understudy/shared/core/ids'
import { instant, mono } from '@understudy/shared/core/time'
import { COORDINATOR, firstProposal, succession } from '@understudy/shared/failover/certificate'
import { proposalDigest } from '@understudy/shared/protocol/vote-signing'
import { expect, test } from 'vitest'
import type { InstanceRow } from '../storage/database.ts'
import { membersOf } from './stored-members.ts'

const [p, r] = [instanceId('i-aaa'), instanceId('i-bbb')]
const row = (id: string, terminated_at: number | null, agent = 'a', notice_at: number | null = null) =>
  ({ id, agent_id: agent, terminated_at, retired: 0, has_copy: 1, notice_at }) as InstanceRow
const clock = { now: () => instant(100_000), mono: () => mono(5000) }

test('a voter that has ended is still a member, and gone; others that have ended are not', () => {
  const first = firstProposal(agentId('a'), 1, p, { [p]: 'k', [COORDINATOR]: 'c' })
  const base = { proposal: first, digest: proposalDigest(first), votes: [] }
  const proposal = succession(base, 2, { instance: r, key: 'k2' })
  const certificate = { proposal, digest: proposalDigest(proposal), votes: [] }
  const rows = [row(p, null), row(r, 5), row('i-ccc', null), row('i-ddd', 5), row('i-eee', null, 'b')]
  const goneOf = (of: typeof certificate | undefined) =>
    membersOf('a', rows, of, clock).map(({ instance, gone }) => [instance, gone])
  expect(goneOf(certificate)).toEqual([
    [p, false],
    [r, true],
    ['i-ccc', false],
  ])
  expect(goneOf(undefined)).toEqual([
    [p, false],
    ['i-ccc', false],
  ])
})

test('the notice of a standby is known again, and until when it runs; that of the primary is in its incident', () => {
  const proposal = firstProposal(agentId('a'), 1, p, { [p]: 'k', [COORDINATOR]: 'c' })
  const certificate = { proposal, digest: proposalDigest(proposal), votes: [] }
  const rows = [row(p, null, 'a', 160_000), row(r, null, 'a', 160_000), row('i-ccc', null)]
  expect(membersOf('a', rows, certificate, clock).map(({ noticedBy }) => noticedBy)).toEqual([
    undefined,
    65_000,
    undefined,
  ])
})
