import { instant } from '@understudy/shared/core/time'
import { describe, expect, test } from 'vitest'
import { addAgent, addInstance } from '../fleet/testing.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import { ageAt, livesOf, type NoticeRow, readLives, toHistory, toLives } from './own-history.ts'

const HOUR = 3_600_000
const POOL = 'c5.large@us-east-1a'
const run = (id: string, from: number, to: number | null = null) => ({
  id,
  pool_id: POOL,
  launched_at: from * HOUR,
  enrolled_at: from * HOUR + 1000,
  terminated_at: to === null ? null : to * HOUR,
})
const notice = (id: string, at: number, ...vias: string[]): NoticeRow => ({
  instance_id: id,
  detected_at: at * HOUR,
  seen_via: JSON.stringify(vias.map((via) => ({ via, after_ms: 0 }))),
})
const told = (...given: Parameters<typeof livesOf>) =>
  livesOf(...given).map(({ from, to, interrupted }) => [from / HOUR, to / HOUR, interrupted])
const NOW = instant(100 * HOUR)
const BEGINNING = instant(0)

test('an instance runs from its launch until its end, or until now', () => {
  expect(told([run('a', 10), run('b', 20, 30)], [], BEGINNING, NOW)).toEqual([
    [10, 100, false],
    [20, 30, false],
  ])
})

test('it is interrupted where AWS gave notice, at that moment, however long it went on', () => {
  const notices = [
    notice('a', 50, 'imds'),
    notice('a', 60, 'eventbridge'),
    notice('b', 25, 'auto-scaling', 'imds'),
  ]
  expect(told([run('a', 10, 51), run('b', 20)], notices, BEGINNING, NOW)).toEqual([
    [10, 50, true],
    [20, 25, true],
  ])
})

test('what an Auto Scaling group ends, or AWS takes back, is no interruption', () => {
  const notices = [notice('a', 50, 'auto-scaling'), notice('b', 50, 'imds', 'withdrawn')]
  expect(told([run('a', 10, 51), run('b', 20)], notices, BEGINNING, NOW)).toEqual([
    [10, 51, false],
    [20, 100, false],
  ])
})

test('only the time that is looked at counts, and the age is that of the instance', () => {
  const lives = livesOf(
    [run('a', 10), run('b', 1, 5), run('c', 10)],
    [notice('c', 20, 'imds')],
    instant(40 * HOUR),
    NOW,
  )
  expect(lives).toMatchObject([{ from: 40 * HOUR, to: 100 * HOUR, launchedAt: 10 * HOUR }])
  expect(toLives(lives, () => 0.1)).toEqual([
    { rate: 0.1, begins: 16, ageHours: 30, hours: 60, interrupted: false },
  ])
})

test('a machine whose clock is ahead was launched just now', () => {
  expect(told([run('a', 200)], [], BEGINNING, NOW)).toEqual([[100, 100, false]])
  expect(ageAt(instant(NOW + 5), NOW)).toBe(0)
})

test('by pool: hours together, and how many were taken back', () => {
  const lives = livesOf([run('a', 10, 20), run('b', 0, 5)], [notice('a', 20, 'imds')], BEGINNING, NOW)
  expect(toHistory(lives, () => 2)).toEqual([
    {
      pool: { instanceType: 'c5.large', availabilityZone: 'us-east-1a' },
      band: 2,
      instanceHours: 15,
      interruptions: 1,
    },
  ])
})

describe.each(dialects)('own history on %s', (dialect) => {
  test('is read from instances and incidents; on-demand is left out', { timeout: 60_000 }, async () => {
    const { db, close } = await testDatabase(dialect)
    try {
      await addAgent(db, { id: 'a' })
      await addInstance(db, { id: 'i-1', agent_id: 'a', pool_id: POOL, launched_at: 10 * HOUR })
      await addInstance(db, { id: 'i-2', agent_id: 'a', pool_id: POOL, life_cycle: 'on-demand' })
      await addInstance(db, { id: 'i-3', agent_id: 'a', pool_id: POOL, terminated_at: 2 * HOUR })
      const notice = (instance_id: string, seen_via: string, detected_at: number) => ({
        ...{ id: `of ${instance_id}`, agent_id: 'a', instance_id, trigger: 'notice', old_epoch: 1 },
        ...{ signal_type: 'termination-notice', detected_at, seen_via },
        ...{ response_action: '', outcome: '', outcome_reason: '', failover_completed: 0 },
      })
      await db
        .insertInto('spot_interruption_events')
        .values([
          notice('i-1', '[{"via":"imds","after_ms":0}]', 30 * HOUR),
          // Of one that ended before the time that is looked at: never read.
          notice('i-3', 'not read', 2 * HOUR),
        ])
        .execute()
      const lives = await readLives(db, instant(5 * HOUR), NOW)
      expect(lives.map(({ from, to, interrupted }) => [from / HOUR, to / HOUR, interrupted])).toEqual([
        [10, 30, true],
      ])
    } finally {
      await close()
    }
  })
})
