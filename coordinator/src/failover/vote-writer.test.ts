import { agentId, instanceId } from '@understudy/shared/core/ids'
import { systemClock } from '@understudy/shared/core/time'
import { COORDINATOR, firstProposal } from '@understudy/shared/failover/certificate'
import { newVoterKey, signProposal } from '@understudy/shared/protocol/vote-signing'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { createFleetStore } from '../fleet/fleet.ts'
import { openSqlite } from '../storage/database.ts'
import { createGroupCommit } from '../storage/group-commit.ts'
import { migrate } from '../storage/migrate.ts'
import { writeOutdated } from './certificates.ts'
import { createVoteWriter } from './vote-writer.ts'

const id = agentId('a')
const p = instanceId('i-aaa')
const key = newVoterKey()

async function writerOf() {
  const { db, close } = openSqlite({ path: ':memory:' })
  const stop = new AbortController()
  onTestFinished(() => {
    stop.abort()
    return close()
  })
  await migrate(db)
  await createFleetStore(db, systemClock).ensureAgent({ id, name: 'a', clientId: 'c' })
  const writer = createVoteWriter(
    id,
    {
      commit: createGroupCommit(db, systemClock),
      clock: systemClock,
      log: pino({ level: 'silent' }),
      sign: (proposal) => signProposal(key, proposal),
      priceOf: () => null,
    },
    stop.signal,
  )
  const cast = (epoch: number) => {
    const proposal = firstProposal(id, epoch, p, { [p]: key.publicKey, [COORDINATOR]: key.publicKey })
    return writer.cast({ kind: 'vote', proposal, votes: [], record: undefined }, null)
  }
  const row = () =>
    db.selectFrom('agents').select(['voted_epoch', 'outdated']).where('id', '=', id).executeTakeFirstOrThrow()
  return { db, writer, cast, row }
}

test('a vote for which it is too late tells which epoch the database has', async () => {
  const { cast } = await writerOf()
  expect(await cast(5)).toMatchObject({ kind: 'cast' })
  expect(await cast(3)).toEqual({ kind: 'spent', voted: 5 })
})

test('that the database is outdated is written after the votes on their way, and before what was given later', async () => {
  const { db, writer, cast, row } = await writerOf()
  const done = Promise.withResolvers<void>()
  const before = cast(1)
  const paused = writer.pause(done.promise)
  const after = cast(2)
  const informed = writer.informed()
  await paused
  expect(await before).toMatchObject({ kind: 'cast' })
  await writeOutdated(db, 5000, new Map([[id, 1000]]))
  expect(await row()).toEqual({ voted_epoch: 1000, outdated: 1 })
  done.resolve()
  expect(await after).toEqual({ kind: 'spent', voted: 1000 })
  await informed
  expect(await row()).toEqual({ voted_epoch: 1000, outdated: 0 })
})

test('what cannot be written at all does not hold back the rest for ever', async () => {
  const { writer, cast } = await writerOf()
  await writer.pause(Promise.reject(new Error('stopped')))
  expect(await cast(1)).toMatchObject({ kind: 'cast' })
})
