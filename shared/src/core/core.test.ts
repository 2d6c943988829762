import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createVirtualTime } from '../testkit/virtual-time.ts'
import { fullJitter } from './backoff.ts'
import { fromUsd, toUsd } from './money.ts'
import { seededRandom } from './random.ts'
import { createSerial } from './serial.ts'
import { runServices } from './service.ts'
import { everyPeriod, formatMillis, millis, sleep } from './time.ts'

test('full jitter stays below both the cap and the doubling', () => {
  const policy = { base: millis(100), cap: millis(5000) }
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 60 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (attempt, r) => {
        const wait = fullJitter(policy, attempt, () => r)
        expect(wait).toBeGreaterThanOrEqual(0)
        expect(wait).toBeLessThan(Math.min(5000, 100 * 2 ** Math.min(attempt, 30)))
      },
    ),
  )
})

test('money survives the way from dollars and back to a micro-dollar', () => {
  expect(toUsd(fromUsd(0.0416))).toBe(0.0416)
  expect(() => fromUsd(Number.NaN)).toThrow(RangeError)
  expect(() => fromUsd(-0.01)).toThrow(RangeError)
})

test('one seed makes one sequence', () => {
  const a = seededRandom(7)
  const b = seededRandom(7)
  expect([a(), a(), a()]).toEqual([b(), b(), b()])
  expect(seededRandom(8)()).not.toBe(seededRandom(7)())
})

test('times are written for people', () => {
  expect([0, 12, 999, 1000, 3620, 9999, 12_340, 120_000].map(formatMillis)).toEqual([
    '0 ms',
    '12 ms',
    '999 ms',
    '1.00 s',
    '3.62 s',
    '10.00 s',
    '12.3 s',
    '120 s',
  ])
})

test('sleep ends with its signal and leaves no timer', async () => {
  const time = createVirtualTime()
  const stop = new AbortController()
  const sleeping = sleep(time.clock, millis(1000), stop.signal)
  stop.abort(new Error('enough'))
  await expect(sleeping).rejects.toThrow('enough')
  expect(time.pending()).toBe(0)
})

test('a slow tick is never overtaken by the next one', async () => {
  const time = createVirtualTime()
  const stop = new AbortController()
  let running = 0
  let most = 0
  const loop = everyPeriod(time.clock, millis(10), stop.signal, async () => {
    running += 1
    most = Math.max(most, running)
    await sleep(time.clock, millis(35))
    running -= 1
  })
  await time.advance(200)
  stop.abort()
  await time.advance(100)
  await loop
  expect(most).toBe(1)
  expect(time.pending()).toBe(0)
})

test('tasks run one after the other, and a failure is only its own', async () => {
  const serial = createSerial()
  const order: number[] = []
  const first = serial(async () => {
    await new Promise((resolve) => setTimeout(resolve, 5))
    order.push(1)
    throw new Error('first')
  })
  const second = serial(() => order.push(2))
  await expect(first).rejects.toThrow('first')
  await second
  expect(order).toEqual([1, 2])
})

test('when one service fails the others are stopped and the failure is told', async () => {
  let stopped = false
  const services = [
    { name: 'bad', run: () => Promise.reject(new Error('broken')) },
    {
      name: 'good',
      run: (signal: AbortSignal) =>
        new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => {
            stopped = true
            resolve()
          }),
        ),
    },
  ]
  await expect(runServices(services, new AbortController().signal)).rejects.toThrow('broken')
  expect(stopped).toBe(true)
})
