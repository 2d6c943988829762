import { AppError } from '@understudy/shared/core/app-error'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { millis, seconds } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSnapshotService, type Situation, type SnapshotService } from './snapshot-service.ts'
import type { SnapshotOrder, SnapshotWriter, TakenSnapshot } from './snapshot-writer.ts'

/** When the agent makes snapshots, with a writer that does as it is told. */

const log = pino({ level: 'silent' })
let time: ReturnType<typeof createVirtualTime>
let now: Situation
let orders: SnapshotOrder[]
let forgotten: number
/** What a snapshot ends with: itself by default. */
let outcome: (order: SnapshotOrder) => Promise<void>
let service: SnapshotService
let stop: AbortController
let running: Promise<void>

const taken = ({ epoch, frozen }: SnapshotOrder): TakenSnapshot => ({
  snapshot: {
    schema: 'understudy.snapshot/v1',
    id: `snapshot-${orders.length}`,
    agent_id: agentId('orders'),
    instance_id: instanceId('i-primary1'),
    agent_version: '0',
    epoch,
    seq: orders.length,
    taken_at: '2026-01-01T00:00:00.000Z',
    workload: frozen ? 'frozen' : 'running',
    directories: ['/srv'],
    tree: { digest: 'a'.repeat(64), names: 0, bytes: 0 },
    unreadable: 0,
    packs: [],
    manifest: [],
  },
  bytesSent: 0,
  bytesThere: 0,
  base: undefined,
})

beforeEach(() => {
  time = createVirtualTime()
  now = { primary: true, epoch: 3, frozen: false, attached: 1, noticed: false }
  orders = []
  forgotten = 0
  outcome = () => Promise.resolve()
  const writer: SnapshotWriter = {
    async take(order) {
      orders.push(order)
      await outcome(order)
      return taken(order)
    },
    forget() {
      forgotten += 1
    },
  }
  service = createSnapshotService({
    storeName: 'file:///x',
    writer,
    interval: seconds(300),
    always: false,
    situation: () => now,
    clock: time.clock,
    log,
  })
  stop = new AbortController()
  running = service.run(stop.signal)
})
afterEach(async () => {
  stop.abort()
  await time.advance(1000)
  await running
  expect(time.pending()).toBe(0)
})

const untilAborted = ({ signal }: SnapshotOrder) =>
  new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))

test('none while a replica is attached, one at once when it goes, then one each interval', async () => {
  await time.advance(1_000_000)
  expect(orders).toHaveLength(0)
  now = { ...now, attached: 0 }
  await time.advance(500)
  expect(orders).toHaveLength(1)
  await time.advance(299_000)
  expect(orders).toHaveLength(1)
  await time.advance(1500)
  expect(orders).toHaveLength(2)
  now = { ...now, attached: 1 }
  await time.advance(1_000_000)
  expect(orders).toHaveLength(2)
})

test('a notice brings one at once, and one after the other until it is withdrawn', async () => {
  now = { ...now, attached: 0 }
  await time.advance(5000)
  expect(orders).toHaveLength(1)
  now = { ...now, noticed: true }
  await time.advance(500)
  expect(orders).toHaveLength(2)
  await time.advance(30_500)
  expect(orders.length).toBeGreaterThanOrEqual(4)
})

test('failures show as degraded with what to do, until one succeeds', async () => {
  now = { ...now, attached: 0 }
  outcome = () => Promise.reject(new AppError('forbidden', 'access was refused', { hint: 'give it a role' }))
  await time.advance(20_000)
  expect(orders).toHaveLength(3)
  expect(service.degraded).toEqual({
    code: 'snapshot_failed',
    message: 'no snapshot can be made (there is none yet): access was refused',
    hint: 'give it a role',
  })
  outcome = () => Promise.resolve()
  await time.advance(20_000)
  expect(service.degraded).toBeUndefined()
  expect(service.status).toMatchObject({ failures: 0, last_id: 'snapshot-4', running: null })
})

test('an instance that is not primary any more gives up what it makes, and forgets the state', async () => {
  now = { ...now, attached: 0 }
  outcome = untilAborted
  await time.advance(500)
  expect(orders).toHaveLength(1)
  now = { ...now, primary: false }
  await time.advance(1500)
  expect(orders[0]?.signal.aborted).toBe(true)
  expect(forgotten).toBeGreaterThan(0)
  expect(service.degraded).toBeUndefined()
  await expect(service.takeNow()).rejects.toMatchObject({ code: 'conflict' })
})

test('whoever asks gets one of its own, after the one that is being made', async () => {
  now = { ...now, attached: 0 }
  let finish = () => {}
  outcome = () => new Promise((resolve) => (finish = resolve))
  await time.advance(500)
  const asked = service.takeNow()
  await time.advance(1)
  expect(orders).toHaveLength(1)
  finish()
  await time.advance(1)
  expect(orders).toHaveLength(2)
  finish()
  expect((await asked).snapshot.id).toBe('snapshot-2')
})

test('the last one is exact, puts an end to the one before, and takes no longer than it may', async () => {
  now = { ...now, attached: 0 }
  outcome = untilAborted
  await time.advance(500)
  const last = service.takeLast(3, millis(12_000))
  await time.advance(11_000)
  expect(orders[0]?.signal.aborted).toBe(true)
  expect(orders[1]).toMatchObject({ epoch: 3, frozen: true })
  expect(orders[1]?.signal.aborted).toBe(false)
  await time.advance(2000)
  await last
  expect(orders[1]?.signal.aborted).toBe(true)
})
