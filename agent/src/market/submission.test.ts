import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError } from '@understudy/shared/core/app-error'
import { seededRandom } from '@understudy/shared/core/random'
import { createSerial } from '@understudy/shared/core/serial'
import { type Millis, minutes, plus, seconds } from '@understudy/shared/core/time'
import type { PriceSubmission } from '@understudy/shared/protocol/market'
import { priceSubmissionSchema } from '@understudy/shared/protocol/market'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import type { PriceSample } from './price-lines.ts'
import { openPriceQueue } from './price-queue.ts'
import { createSubmitter } from './submission.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const START = 1_700_000_000_000
const sample = (index: number): PriceSample => ({
  pool: 'c5.large@us-east-1a',
  at: new Date(START + index).toISOString(),
  usd: 0.0416,
  instance: 'i-first1',
  role: 'primary',
})
const samples = (count: number): PriceSample[] => Array.from({ length: count }, (_, index) => sample(index))

interface Row {
  at: string
}

function start(path = newPath()) {
  const time = createVirtualTime(START)
  const posted: PriceSubmission[] = []
  const lines: string[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(line) })
  const queue = openPriceQueue({ path, isOpen: () => true, write: createSerial(), clock: time.clock, log })
  queue.reload()
  const world = {
    connected: true,
    refuse: (_: readonly Row[]): unknown => undefined,
    refusedRows: 0,
  }
  const submitter = createSubmitter({
    queues: [queue],
    async post(submission) {
      posted.push(submission)
      const failure = world.refuse(submission.samples as Row[])
      if (failure) throw failure
      const { length } = submission.samples
      return {
        submission_id: submission.submission_id ?? '',
        accepted: length - world.refusedRows,
        duplicates: 0,
        refused: world.refusedRows,
        errors: [],
      }
    },
    isConnected: () => world.connected,
    clock: time.clock,
    random: seededRandom(1),
    log,
  })
  const stop = new AbortController()
  const running = submitter.run(stop.signal)
  const end = async () => {
    stop.abort()
    await running
  }
  cleanups.push(end)
  // Files are written in real time, which a virtual clock does not wait for.
  const pass = async (by: Millis) => {
    while (time.pending() === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    await time.advance(by)
  }
  const give = async (given: readonly PriceSample[]) => {
    await queue.add(given)
    submitter.wake()
  }
  const rows = () => posted.flatMap((submission) => (submission.samples as Row[]).map(({ at }) => at))
  const events = (name: string) => lines.filter((line) => line.includes(`"event":"${name}"`))
  return { time, queue, posted, submitter, world, pass, give, rows, events, end, path }
}

function newPath(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-submission-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'prices.jsonl')
}

test('what waits goes in batches, the oldest first, in the form of the wire', async () => {
  const { queue, posted, give, rows } = start()
  await give(samples(1200))
  await expect.poll(() => queue.size).toBe(0)
  expect(posted.map(({ samples: { length } }) => length)).toEqual([500, 500, 200])
  expect(rows()).toEqual(samples(1200).map(({ at }) => at))
  for (const submission of posted) expect(priceSubmissionSchema.safeParse(submission).success).toBe(true)
  expect(posted[0]?.samples[0]).toEqual({
    pool_id: 'c5.large@us-east-1a',
    at: sample(0).at,
    price: 0.0416,
    instance_id: 'i-first1',
    role: 'primary',
  })
})

test('while the coordinator is away everything waits; when it is back it goes', async () => {
  const { time, queue, posted, submitter, world, give } = start()
  world.connected = false
  await give(samples(3))
  await time.advance(minutes(60))
  expect(posted).toEqual([])
  world.connected = true
  submitter.wake()
  await expect.poll(() => queue.size).toBe(0)
  expect(posted).toHaveLength(1)
})

test('an answer that is lost means the same batch again, under the same name, with longer and longer waits', async () => {
  const { pass, queue, posted, submitter, world, give, events } = start()
  world.refuse = () => new AppError('unavailable', 'no answer', { retryable: true })
  await give(samples(2))
  await expect.poll(() => posted.length).toBe(1)
  for (let minute = 0; minute < 60; minute += 1) await pass(minutes(1))
  expect(posted.length).toBeGreaterThan(5)
  expect(posted.length).toBeLessThan(60)
  expect(new Set(posted.map((submission) => JSON.stringify(submission))).size).toBe(1)
  expect(submitter.error).toBe('no answer')
  expect(events('prices.not_submitted')).toHaveLength(1)
  world.refuse = () => undefined
  submitter.wake()
  await expect.poll(() => submitter.error).toBeUndefined()
  expect(queue.size).toBe(0)
})

test('after a restart only what was not answered for is sent', async () => {
  const first = start()
  let answered = 0
  first.world.refuse = () =>
    answered++ === 0 ? undefined : new AppError('unavailable', 'gone', { retryable: true })
  await first.give(samples(800))
  await expect.poll(() => first.submitter.error).toBe('gone')
  await expect.poll(() => first.queue.size).toBe(300)
  await first.end()
  const second = start(first.path)
  second.submitter.wake()
  await expect.poll(() => second.queue.size).toBe(0)
  expect(second.rows()).toEqual(
    samples(800)
      .slice(500)
      .map(({ at }) => at),
  )
})

test('rows that are refused are counted and never sent again', async () => {
  const { queue, posted, submitter, world, give, events } = start()
  world.refusedRows = 2
  await give(samples(3))
  await expect.poll(() => queue.size).toBe(0)
  expect(submitter.refused).toBe(2)
  expect(posted).toHaveLength(1)
  expect(events('prices.refused')).toHaveLength(1)
})

test.each(['payload_too_large', 'input_invalid'] as const)(
  'a batch that cannot be taken (%s) is halved until the one row that is wrong is alone',
  async (code) => {
    const { queue, submitter, world, give, rows } = start()
    const bad = sample(37).at
    world.refuse = (given) =>
      given.some(({ at }) => at === bad) ? new AppError(code, 'not this') : undefined
    await give(samples(100))
    await expect.poll(() => queue.size).toBe(0)
    await expect.poll(() => submitter.refused).toBe(1)
    expect(submitter.error).toBeUndefined()
    expect(new Set(rows()).size).toBe(100)
  },
)

test('before a deadline the waits are short', async () => {
  const { time, pass, posted, submitter, world, give } = start()
  world.refuse = () => new AppError('unavailable', 'no answer', { retryable: true })
  await give(samples(1))
  await expect.poll(() => posted.length).toBe(1)
  submitter.hurry(plus(time.clock.mono(), minutes(2)))
  for (let second = 0; second < 60; second += 1) await pass(seconds(1))
  expect(posted.length).toBeGreaterThan(25)
})

test('an agent that ends sends what it has, if somebody answers at once', async () => {
  const { queue, posted, end } = start()
  await queue.add(samples(2))
  await end()
  expect(posted).toHaveLength(1)
  expect(queue.size).toBe(0)
})
