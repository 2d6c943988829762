import { AppError } from '@understudy/shared/core/app-error'
import { incidentId, instanceId } from '@understudy/shared/core/ids'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { Entry } from './registry.ts'
import { createSignals } from './signals.ts'

const PRIMARY = instanceId('i-0a')

/** Signals of one agent for which no replica can be made. */
function withoutCapacity() {
  const time = createVirtualTime()
  const closed: string[] = []
  const seen: string[] = []
  const signals = createSignals({
    clock: time.clock,
    log: pino({ level: 'silent' }),
    standbys: {
      usable: () => [],
      protect: () => Promise.reject(new AppError('no_capacity', 'no pool is left')),
    },
    fleet: {
      mustAgent: () =>
        Promise.resolve({ rebalance_threshold: 0.3, auto_replica_enabled: 1, on_rebalance: 'replica' }),
      instance: () => Promise.resolve({ pool_id: 'm5.large@us-east-1a', launched_at: null }),
    },
    interruptions: {
      estimate: () => Promise.resolve({ value: 0.01 }),
      afterSignal: () => Promise.resolve({ value: 0.4, because: 'of a test' }),
      ledger: { open: () => Promise.resolve({ incidentId: 'one', isNew: true }) },
    },
    incidents: {
      newId: () => incidentId('one'),
      open: () => undefined,
      step: () => undefined,
      seen: (id: string) => seen.push(id),
      close: (_: string, { why }: { why: string }) => closed.push(why),
    },
  } as unknown as Parameters<typeof createSignals>[0])
  const entry = { agentId: 'shop', runner: { group: { primary: PRIMARY, epoch: 3 } } } as unknown as Entry
  const recommend = () =>
    signals.rebalance(entry, PRIMARY, {
      signal: 'rebalance-recommendation',
      time: time.clock.now(),
      seenAt: time.clock.mono(),
      via: 'imds',
    })
  return { recommend, closed, seen }
}

test('a recommendation for which no replica can be made is over all the same, and says why', async () => {
  const { recommend, closed } = withoutCapacity()
  await expect(recommend()).rejects.toThrow('no pool is left')
  expect(closed).toEqual(['no replica could be made: no pool is left'])
})

test('who hears the same one meanwhile is told the same, and nothing is left unhandled', async () => {
  const { recommend, closed, seen } = withoutCapacity()
  const unhandled: unknown[] = []
  const listen = (error: unknown) => unhandled.push(error)
  process.on('unhandledRejection', listen)
  try {
    const [first, second] = await Promise.allSettled([recommend(), recommend()])
    expect([first.status, second.status]).toEqual(['rejected', 'rejected'])
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    process.off('unhandledRejection', listen)
  }
  expect(unhandled).toEqual([])
  expect(closed).toHaveLength(1)
  expect(seen).toEqual([])
})
