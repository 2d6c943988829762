import { agentId, type IncidentId, instanceId } from '@understudy/shared/core/ids'
import { mono, systemClock } from '@understudy/shared/core/time'
import {
  type Certificate,
  COORDINATOR,
  firstProposal,
  type Proposal,
  succession,
  turnover,
  type VoterId,
} from '@understudy/shared/failover/certificate'
import type { Trigger } from '@understudy/shared/failover/group'
import { parsePool } from '@understudy/shared/market/pool'
import {
  newVoterKey,
  proposalDigest,
  signProposal,
  type VoterKey,
} from '@understudy/shared/protocol/vote-signing'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { createFleetStore, createIncidents } from '../fleet/fleet.ts'
import { type AgentRow, openSqlite } from '../storage/database.ts'
import { createGroupCommit } from '../storage/group-commit.ts'
import { migrate } from '../storage/migrate.ts'
import { recordCertificate } from './certificates.ts'
import { lossOf, lossOfRest } from './flight.ts'
import { readOpenMoves } from './open-moves.ts'
import { createReplicaStore } from './replica-store.ts'

const id = agentId('a')
const [p, r] = [instanceId('i-aaa'), instanceId('i-bbb')]
const keys = { [p]: newVoterKey(), [r]: newVoterKey(), [COORDINATOR]: newVoterKey() }

const certify = (proposal: Proposal | undefined, ...voters: readonly VoterId[]): Certificate => {
  if (!proposal) throw new Error('no such change')
  const votes = voters.map((voter) => ({ voter, signature: signProposal(keys[voter] as VoterKey, proposal) }))
  return { proposal, digest: proposalDigest(proposal), votes }
}

function certified() {
  const publicKey = (voter: VoterId) => (keys[voter] as VoterKey).publicKey
  const first = { [p]: publicKey(p), [COORDINATOR]: publicKey(COORDINATOR) }
  const one = certify(firstProposal(id, 1, p, first), COORDINATOR)
  return { one, two: certify(succession(one, 2, { instance: r, key: publicKey(r) }), p, COORDINATOR) }
}

/** One agent whose primary is `p`, at epoch 2 if not said otherwise. `restart`: what the next process reads. */
async function coordinator(agent: Partial<AgentRow> = { epoch: 2, instance_id: p, successor_id: r }) {
  const database = openSqlite({ path: ':memory:' })
  onTestFinished(() => database.close())
  const { db } = database
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
  await db.updateTable('agents').set(agent).execute()
  const recorder = () =>
    createIncidents({
      db,
      commit: createGroupCommit(db, systemClock),
      clock: systemClock,
      log: pino({ level: 'silent' }),
      onChange: () => undefined,
    })
  const incidents = recorder()
  const told = (incident: IncidentId, ...names: readonly string[]) => {
    for (const step of names)
      incidents.step(incident, {
        ...{ step, ok: true, detail: '', reportedBy: p, clock: p, tookMillis: 1, uncertaintyMillis: 0 },
        ...{ began: mono(systemClock.mono() + names.indexOf(step)), at: systemClock.now() },
      })
  }
  return {
    incidents,
    told,
    /** `r` is a standby that was made because of that incident. */
    standby: (incident: IncidentId | null) =>
      createReplicaStore(db, systemClock).create({
        ...{ agentId: id, type: 'manual', pool: 'm5.large@us-east-1a', spotPrice: null },
        ...{ createdBy: 'test', incident, instanceId: r },
      }),
    /** The epoch is that of `r`, for which these have voted. */
    async moved(incident: IncidentId, ...voters: readonly VoterId[]) {
      const { commit, one, two } = { commit: createGroupCommit(db, systemClock), ...certified() }
      const change = { cause: null, fresh: false, retirePrevious: false, priceOf: () => null }
      for (const certificate of [one, two, certify(turnover(two, 3), ...voters)])
        await recordCertificate(commit, systemClock, { ...change, certificate, incident, trigger: 'notice' })
    },
    open(trigger: Trigger, instance = p, via = 'test', keepOld = true) {
      const incident = incidents.newId()
      incidents.open({
        id: incident,
        agentId: id,
        instanceId: instance,
        signalType: 'instance-lost',
        trigger,
        via,
        detected: { wall: systemClock.now(), mono: systemClock.mono() },
        deadline: null,
        epoch: 2,
        keepOld,
      })
      return incident
    },
    async restart() {
      await incidents.settled()
      const again = recorder()
      const moves = await readOpenMoves(db, again, systemClock)
      await again.settled()
      return { moves, outcomeOf: async (of: IncidentId) => (await again.get(of)).outcome }
    },
  }
}

test('a silence that nobody has been elected for is taken up again as the same incident', async () => {
  const { open, restart } = await coordinator()
  const incident = open('silence')
  const { moves, outcomeOf } = await restart()
  const { move, flight } = moves.get(id) ?? {}
  expect(move).toMatchObject({ incident: { id: incident, trigger: 'silence' }, at: { kind: 'waiting' } })
  // Nothing was heard of it since it was taken for lost.
  expect(flight?.lastHeard).toBe(flight?.zero)
  expect(await outcomeOf(incident)).toBe('running')
})

test('a planned move that had not been ordered yet, and one about a former primary, are closed', async () => {
  const { open, restart } = await coordinator()
  const all = [open('planned'), open('drill'), open('silence', r), open('notice', r)]
  const { moves, outcomeOf } = await restart()
  expect(moves.size).toBe(0)
  expect(await Promise.all(all.map(outcomeOf))).toEqual(['failed', 'failed', 'failed', 'failed'])
})

test('an incident that was closed goes on under the same id when it turns out otherwise', async () => {
  const { incidents, open } = await coordinator()
  const incident = open('silence')
  const end = {
    replicaId: null,
    newInstanceId: null,
    newEpoch: 2,
    failoverMillis: null,
    noPrimaryMillis: null,
  }
  const failed = {
    outcome: 'failed',
    why: 'it is heard again',
    action: 'none',
    noPrimaryFrom: null,
    loss: null,
  } as const
  incidents.close(incident, { ...end, ...failed })
  expect(incidents.isOpen(incident)).toBe(false)
  incidents.open({
    id: incident,
    agentId: id,
    instanceId: p,
    signalType: 'instance-lost',
    trigger: 'silence',
    via: 'test',
    detected: { wall: systemClock.now(), mono: systemClock.mono() },
    deadline: null,
    epoch: 2,
  })
  expect(incidents.isOpen(incident)).toBe(true)
  await incidents.settled()
  const { items } = await incidents.list({ agentId: id, limit: 10 })
  expect(items).toMatchObject([{ id: incident, outcome: 'running', closed_at: null }])
})

test.each([
  ['operator', true, true],
  ['operator', false, false],
  ['decision', false, false],
  ['rebalance', false, false],
  ['return-to-spot', false, false],
])(
  'a planned move that goes on and was asked for by %s, to keep the old primary: %s, keeps it: %s',
  async (via, asked, keepOld) => {
    const { incidents, open, restart } = await coordinator()
    incidents.target(open('planned', p, via, asked), r)
    const { moves } = await restart()
    expect(moves.get(id)?.move).toMatchObject({
      at: { kind: 'handing-over', target: r },
      incident: { keepOld },
    })
  },
)

test('what the old primary said that it gives up is in the record at once, and is still known after a restart', async () => {
  const { incidents, open, told, restart } = await coordinator()
  const incident = open('notice')
  incidents.target(incident, r)
  told(incident, 'workload-frozen', 'final-sync')
  incidents.lossTold(incident, lossOfRest({ bytes: 4096, names: 0 }))
  expect((await incidents.get(incident)).loss).toMatchObject({ kind: 'bounded', bytes_behind: 4096 })
  const flight = (await restart()).moves.get(id)?.flight
  expect(flight && lossOf(flight, 'promoted', 150)).toMatchObject({ kind: 'bounded', bytes_behind: 4096 })
})

test('after a restart nothing is missing where the replica had confirmed everything, and the workload stood still', async () => {
  const { incidents, open, told, restart } = await coordinator()
  const incident = open('notice')
  incidents.target(incident, r)
  told(incident, 'workload-frozen', 'final-sync')
  const flight = (await restart()).moves.get(id)?.flight
  expect(flight).toMatchObject({ sealedFor: r, quietFrom: expect.any(Number) })
})

test('a workload that went on after it was confirmed has written more, so that nobody has all of it', async () => {
  const { incidents, open, told, restart } = await coordinator()
  const incident = open('silence')
  incidents.target(incident, r)
  told(incident, 'workload-frozen', 'final-sync', 'workload-thawed')
  const flight = (await restart()).moves.get(id)?.flight
  expect(flight).toMatchObject({ sealedFor: undefined, quietFrom: undefined })
  expect(flight && lossOf(flight, 'promoted', 150).kind).toBe('unknown')
})

test.each([
  [[p, r] as const, r],
  [[COORDINATOR, r] as const, undefined],
])(
  'after a second try it is the vote of the old primary that says whether it gave up: %j',
  async (voters, sealedFor) => {
    const { open, told, moved, restart } = await coordinator({ epoch: 0, instance_id: null })
    const incident = open('notice')
    told(incident, 'workload-frozen', 'final-sync', 'workload-thawed')
    await moved(incident, ...voters)
    const flight = (await restart()).moves.get(id)?.flight
    expect(flight).toMatchObject({ sealedFor, heir: r })
  },
)

test.each([
  [true, 'made because of the incident'],
  [false, 'there before'],
])(
  'it is still known after a restart whether the replica that took over was made for the incident: %s',
  async (emergency) => {
    const { open, moved, standby, restart } = await coordinator({ epoch: 0, instance_id: null })
    const incident = open('notice')
    const row = await standby(emergency ? incident : null)
    await moved(incident, p, r)
    expect((await restart()).moves.get(id)?.flight).toMatchObject({ replicaId: row.id, emergency })
  },
)
