import { agentId, incidentId, instanceId } from '@understudy/shared/core/ids'
import { instant, systemClock } from '@understudy/shared/core/time'
import {
  type Certificate,
  COORDINATOR,
  firstProposal,
  type Proposal,
  renewal,
  succession,
  turnover,
} from '@understudy/shared/failover/certificate'
import { parsePool } from '@understudy/shared/market/pool'
import { newVoterKey, proposalDigest, signProposal } from '@understudy/shared/protocol/vote-signing'
import { expect, onTestFinished, test } from 'vitest'
import { createFleetStore } from '../fleet/fleet.ts'
import { openSqlite } from '../storage/database.ts'
import { createGroupCommit } from '../storage/group-commit.ts'
import { migrate } from '../storage/migrate.ts'
import { castVote, lastCertificates, recordCertificate } from './certificates.ts'
import { listEpochs } from './epochs.ts'
import { createReplicaStore } from './replica-store.ts'

const id = agentId('a')
const [p, r] = [instanceId('i-aaa'), instanceId('i-bbb')]
const keys = { [p]: newVoterKey(), [r]: newVoterKey(), [COORDINATOR]: newVoterKey() }
const publicKey = (voter: string) => keys[voter]?.publicKey ?? ''

const certify = (proposal: Proposal | undefined, ...voters: string[]): Certificate => {
  if (!proposal) throw new Error('no such change')
  return {
    proposal,
    digest: proposalDigest(proposal),
    votes: voters.map((voter) => {
      const key = keys[voter]
      if (!key) throw new Error(`no key of ${voter}`)
      return { voter: voter as typeof p, signature: signProposal(key, proposal) }
    }),
  }
}
const one = certify(
  firstProposal(id, 1, p, { [p]: publicKey(p), [COORDINATOR]: publicKey(COORDINATOR) }),
  COORDINATOR,
)
const two = certify(succession(one, 2, { instance: r, key: publicKey(r) }), p, COORDINATOR)
const three = certify(turnover(two, 3), p, r)

const changeOf = (certificate: Certificate, more: { fresh?: boolean } = {}) => ({
  certificate,
  incident: null,
  trigger: null,
  cause: null,
  fresh: false,
  retirePrevious: false,
  priceOf: () => null,
  ...more,
})
const voteOf = (certificate: Certificate, completes = false) => ({
  proposal: certificate.proposal,
  digest: certificate.digest,
  completes: completes ? changeOf(certificate) : undefined,
})

async function fleetOfTwo() {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  const { db } = database
  const commit = createGroupCommit(db, systemClock)
  await migrate(db)
  const fleet = createFleetStore(db, systemClock)
  await fleet.ensureAgent({ id, name: 'a', clientId: 'c' })
  for (const instance of [p, r])
    await fleet.addInstance({
      id: instance,
      agentId: id,
      pool: parsePool('m5.large@us-east-1a'),
      lifeCycle: 'spot',
      privateIp: null,
      launchedAt: null,
    })
  return {
    db,
    commit,
    fleet,
    cast: (...vote: Parameters<typeof voteOf>) => castVote(commit, systemClock, voteOf(...vote)),
    record: (certificate: Certificate) => recordCertificate(commit, systemClock, changeOf(certificate)),
    switches: () => db.selectFrom('instance_switches').selectAll().execute(),
  }
}

test('a vote that completes a certificate is written with everything that says who is primary', async () => {
  const { fleet, cast, db } = await fleetOfTwo()
  expect(await cast(one, true)).toEqual({ kind: 'cast', replica: null })
  expect(await fleet.agent(id)).toMatchObject({
    epoch: 1,
    term: 1,
    instance_id: p,
    successor_id: null,
    voted_epoch: 1,
    voted_for: p,
  })
  expect(await fleet.instance(p)).toMatchObject({ is_active: 1, has_copy: 1 })
  expect(await lastCertificates(db, id, 10)).toEqual([one])
})

test('a vote that completes nothing changes nothing but the vote', async () => {
  const { fleet, cast, record } = await fleetOfTwo()
  await cast(one, true)
  await record(two)
  expect(await cast(three)).toEqual({ kind: 'cast', replica: null })
  expect(await fleet.agent(id)).toMatchObject({ epoch: 2, instance_id: p, voted_epoch: 3, voted_for: r })
})

test('in one epoch there is one vote, whoever comes first; the same one may be written again', async () => {
  const { cast, record, fleet } = await fleetOfTwo()
  await cast(one, true)
  await record(two)
  const other = certify(renewal(two, 3), p, r)
  const both = await Promise.all([cast(three), cast(other)])
  expect(both.map(({ kind }) => kind).sort()).toEqual(['cast', 'spent'])
  expect(await cast(three)).toEqual({ kind: 'cast', replica: null })
  expect(await cast(other)).toEqual({ kind: 'spent', epoch: 3 })
  expect(await cast(two)).toEqual({ kind: 'spent', epoch: 3 })
  expect(await fleet.agent(id)).toMatchObject({ voted_epoch: 3, voted_for: r, voted_digest: three.digest })
})

test('a vote whose answer was lost is written again with its certificate, and the switch is there once', async () => {
  const { cast, record, switches } = await fleetOfTwo()
  await cast(one, true)
  await record(two)
  const completed = certify(three.proposal, p, COORDINATOR)
  for (const _ of [1, 2, 3]) expect(await cast(completed, true)).toMatchObject({ kind: 'cast' })
  expect(await switches()).toHaveLength(1)
})

test('a certificate of others is recorded once, whoever brings it again', async () => {
  const { fleet, cast, record, switches } = await fleetOfTwo()
  await cast(one, true)
  await record(two)
  const outcomes = await Promise.all([record(three), record(three), record(three)])
  expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['known', 'known', 'newest'])
  expect(await switches()).toMatchObject([
    // Its old primary has voted for the other one: it gave the epoch up.
    { epoch: 3, old_instance_id: p, new_instance_id: r, switch_reason: 'automatic-interruption-failover' },
  ])
  expect(await fleet.agent(id)).toMatchObject({ epoch: 3, term: 3, instance_id: r, voted_epoch: 3 })
  expect(await fleet.instance(p)).toMatchObject({ is_active: 0 })
})

test('a change of successor moves nothing', async () => {
  const { fleet, cast, record, switches } = await fleetOfTwo()
  await cast(one, true)
  const before = await fleet.agent(id)
  await record(two)
  expect(await fleet.agent(id)).toMatchObject({ epoch: 2, term: 1, successor_id: r, instance_id: p })
  expect((await fleet.agent(id))?.last_failover_at).toBe(before?.last_failover_at)
  expect(await switches()).toEqual([])
})

test('one that is older than the newest is kept, and changes nothing', async () => {
  const { fleet, cast, record, switches } = await fleetOfTwo()
  await cast(one, true)
  expect(await record(three)).toMatchObject({ kind: 'newest' })
  expect(await record(two)).toEqual({ kind: 'older' })
  expect(await fleet.agent(id)).toMatchObject({ epoch: 3, instance_id: r, successor_id: p })
  expect(await switches()).toHaveLength(1)
})

test('two certificates of one epoch are a conflict, and nothing of the second is written', async () => {
  const { db, fleet, cast, record, switches } = await fleetOfTwo()
  await cast(one, true)
  await record(two)
  await record(three)
  const other = certify(renewal(two, 3), p, COORDINATOR)
  const conflict = { kind: 'conflict', epoch: 3, known: three.digest }
  expect(await record(other)).toEqual(conflict)
  // Also with a vote of ours: that one is not written either.
  await db.updateTable('agents').set({ voted_epoch: 2, voted_digest: null }).execute()
  expect(await cast(other, true)).toEqual(conflict)
  expect(await fleet.agent(id)).toMatchObject({ epoch: 3, instance_id: r, voted_epoch: 2 })
  expect(await switches()).toHaveLength(1)
})

test('a list of epochs says what each was and who voted, the latest first', async () => {
  const { db, cast, record } = await fleetOfTwo()
  await cast(one, true)
  await record(two)
  const four = certify(turnover(three, 4), r, p)
  await record(four)
  const listed = await listEpochs(db, id, 10, undefined)
  expect(listed.map(({ epoch, kind, votes }) => ({ epoch, kind, votes }))).toEqual([
    // The one before it has not come here.
    { epoch: 4, kind: 'unknown', votes: [r, p] },
    { epoch: 2, kind: 'succession', votes: [p, COORDINATOR] },
    { epoch: 1, kind: 'first', votes: [COORDINATOR] },
  ])
  expect(listed[0]).toMatchObject({
    previous_digest: three.digest,
    primary_id: p,
    successor_id: r,
    forced: false,
  })
  expect(await lastCertificates(db, id, 2)).toEqual([two, four])
  expect((await listEpochs(db, id, 1, 2)).map(({ epoch }) => epoch)).toEqual([1])
})

test('the switch belongs to its incident and says what it was about', async () => {
  const { db, commit, cast, record, switches } = await fleetOfTwo()
  await cast(one, true)
  await record(two)
  const incident = incidentId('5f0f3b1e-9d3c-4c9c-8a55-0d6c3c9f0b11')
  const change = { ...changeOf(three), incident, trigger: 'planned' as const, retirePrevious: true }
  await recordCertificate(commit, systemClock, change)
  expect(await switches()).toMatchObject([{ incident_id: incident, switch_reason: 'manual' }])
  expect(await createFleetStore(db, systemClock).instance(p)).toMatchObject({ retired: 1 })
})

test('whoever becomes primary has no row as a standby any more, and the newest says that it was promoted', async () => {
  const { db, commit, cast, record } = await fleetOfTwo()
  await cast(one, true)
  await record(two)
  let now = instant(1000)
  const store = createReplicaStore(db, { ...systemClock, now: () => now })
  const standby = { agentId: id, type: 'manual', pool: 'm5.large@us-east-1a', spotPrice: null } as const
  const add = () => store.create({ ...standby, createdBy: 'test', incident: null, instanceId: r })
  await add()
  now = instant(2000)
  const newest = await add()
  expect(await recordCertificate(commit, systemClock, changeOf(three))).toEqual({
    kind: 'newest',
    replica: { id: newest.id, incident_id: null },
  })
  expect(await store.active(id)).toEqual([])
})
