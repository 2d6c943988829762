import { join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import { millis } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { scratch } from '../replication/testing.ts'
import { createRecovery, type Fill } from './recovery.ts'
import type { Restored, RestoreOrder } from './restore.ts'
import { openRestoreMark } from './restore-mark.ts'

/** What an instance does that is to begin anew, with a restore that ends as the test says. */

const log = pino({ level: 'silent' })
const restored = {
  snapshot: { id: '20260101T000000Z-1-1', taken_at: '2026-01-01T00:00:00.000Z', tree: { bytes: 1 } },
  age: millis(1000),
  took: millis(1),
  resumedAt: 0,
  movedTo: undefined,
} as unknown as Restored
const none = new AppError('not_found', 'there is no snapshot', { facts: { snapshots: 0 } })
const unreachable = new AppError('unavailable', 'the store cannot be reached', { retryable: true })

function bench(restore: ((order: RestoreOrder) => Promise<Restored>) | undefined) {
  const path = join(scratch(), 'restore.json')
  const mark = openRestoreMark(path)
  const filled: string[] = []
  const recovery = createRecovery({ mark, restore, log })
  const fill: Fill = async (goesOn, refill) => {
    const marked = openRestoreMark(path).progress ? 'marked' : 'unmarked'
    filled.push(goesOn ? `${marked}, goes on` : marked)
    await refill()
  }
  return { recovery, mark, path, filled, fill }
}

test('what is here goes, then the newest snapshot comes; from before the first step on it is marked', async () => {
  const b = bench(async () => {
    await b.mark.clear()
    return restored
  })
  expect(await b.recovery.begin(b.fill)).toBe(restored)
  expect(b.filled).toEqual(['marked'])
  expect(b.recovery.unfinished).toBe(false)
})

test('without any snapshot the state is empty, and that is all right', async () => {
  const b = bench(() => Promise.reject(none))
  expect(await b.recovery.begin(b.fill)).toBeUndefined()
  expect(b.recovery.unfinished).toBe(false)
})

test('without a store the state is empty', async () => {
  const b = bench(undefined)
  expect(await b.recovery.begin(b.fill)).toBeUndefined()
  expect(b.filled).toEqual(['unmarked'])
})

test('a restore that fails stays unfinished, across a restart, until it has ended', async () => {
  let fails = true
  const b = bench(async () => {
    if (fails) throw unreachable
    await b.mark.clear()
    return restored
  })
  await expect(b.recovery.begin(b.fill)).rejects.toBe(unreachable)
  expect(openRestoreMark(b.path).progress).toEqual({ snapshot: null, packs: 0 })
  expect(b.recovery.unfinished).toBe(true)
  fails = false
  // What an attempt that did not even choose one has left is made room from again.
  expect(await b.recovery.begin(b.fill)).toBe(restored)
  expect(b.filled).toEqual(['marked', 'marked'])
  expect(b.recovery.unfinished).toBe(false)
})

test('a part of a snapshot is gone on with, not thrown away; and without a store it is refused', async () => {
  const b = bench(async () => restored)
  await b.mark.set({ snapshot: restored.snapshot.id, packs: 3 })
  await b.recovery.begin(b.fill)
  expect(b.filled).toEqual(['marked, goes on'])
  const without = createRecovery({ mark: b.mark, restore: undefined, log })
  await expect(without.begin(b.fill)).rejects.toMatchObject({
    code: 'state_unreadable',
    hint: expect.any(String),
  })
})

test('whoever stops it waits until nothing is written any more; what comes from elsewhere ends the matter', async () => {
  let writing = false
  const begun = Promise.withResolvers<void>()
  const b = bench(
    ({ signal }) =>
      new Promise((_, reject) => {
        writing = true
        begun.resolve()
        signal.addEventListener('abort', () =>
          setTimeout(() => {
            writing = false
            reject(signal.reason)
          }, 20),
        )
      }),
  )
  const beginning = b.recovery.begin(b.fill).catch((error: unknown) => error)
  await begun.promise
  await b.recovery.stop()
  expect(writing).toBe(false)
  expect(await beginning).toMatchObject({ code: 'conflict' })
  expect(b.recovery.unfinished).toBe(true)
  await b.recovery.abandon()
  expect(openRestoreMark(b.path).progress).toBeUndefined()
})
