import { millis, seconds } from '@understudy/shared/core/time'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type LateStandby, planRescue } from './rescue-plan.ts'

const MIB = 2 ** 20
const standby = (id: string, more: Partial<LateStandby> = {}): LateStandby => ({
  ...{ id, instance: `i-${id}`, status: 'syncing', bytesDone: 100 * MIB, bytesTotal: 500 * MIB },
  ...{ bytesPerSecond: 10 * MIB, ...more },
})

test('one that is there in time by its measured speed is waited for', () => {
  // 400 MiB at 10 MiB/s.
  expect(planRescue({ left: seconds(50), standbys: [standby('a')] })).toEqual({
    kind: 'wait',
    id: 'a',
    eta: 40_000,
    why: 'i-a has 100.0 MiB of 500.0 MiB at 10.0 MiB a second: ready in 40.0 s, and 50.0 s are left',
  })
  expect(planRescue({ left: millis(49_999), standbys: [standby('a')] })).toMatchObject({
    kind: 'snapshot',
    id: 'a',
  })
})

test('of several the first one to be there is waited for', () => {
  const standbys = [standby('a'), standby('b', { bytesPerSecond: 20 * MIB }), standby('c', { bytesTotal: 0 })]
  expect(planRescue({ left: seconds(120), standbys })).toMatchObject({ kind: 'wait', id: 'b' })
})

test('one that has just been launched is not counted on, and not replaced either', () => {
  const launching = { instance: null, status: 'launching', bytesDone: null, bytesTotal: null }
  const plan = planRescue({
    left: seconds(110),
    standbys: [standby('a', { ...launching, bytesPerSecond: null })],
  })
  expect(plan).toMatchObject({ kind: 'snapshot', id: 'a' })
  expect(plan.why).toContain('the replica a is launching, and how long it takes cannot be said yet')
})

test('without any a new one is made', () => {
  expect(planRescue({ left: seconds(118), standbys: [] }).kind).toBe('launch')
})

test('it waits only for what is there before the deadline, less ten seconds', () => {
  const bytes = fc.option(fc.integer({ min: 0, max: 1000 * MIB }))
  const late = fc.record({
    id: fc.uuid(),
    instance: fc.option(fc.uuid()),
    status: fc.constantFrom('launching', 'syncing'),
    bytesDone: bytes,
    bytesTotal: bytes,
    bytesPerSecond: fc.option(fc.integer({ min: 0, max: 100 * MIB })),
  })
  fc.assert(
    fc.property(
      fc.integer({ min: -5000, max: 120_000 }),
      fc.array(late, { maxLength: 4 }),
      (left, standbys) => {
        const plan = planRescue({ left: millis(left), standbys })
        expect(plan.why).not.toMatch(/NaN|Infinity|undefined|null/)
        if (plan.kind === 'launch') {
          expect(standbys).toEqual([])
          return
        }
        const chosen = standbys.find(({ id }) => id === plan.id)
        expect(chosen).toBeDefined()
        if (plan.kind === 'snapshot' || !chosen) return
        const missing = Math.max(0, (chosen.bytesTotal ?? 0) - (chosen.bytesDone ?? 0))
        expect((plan.eta / 1000) * (chosen.bytesPerSecond ?? 0)).toBeCloseTo(missing, 0)
        expect(plan.eta + 10_000).toBeLessThanOrEqual(left)
      },
    ),
  )
})
