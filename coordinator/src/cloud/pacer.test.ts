import { AppError } from '@understudy/shared/core/app-error'
import { millis, seconds } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import { createPacer } from './pacer.ts'

const world = (options: { perSecond?: number; burst?: number } = {}) => {
  const time = createVirtualTime()
  const pacer = createPacer({
    clock: time.clock,
    random: () => 0.5,
    perSecond: options.perSecond ?? 1000,
    burst: options.burst ?? 1000,
    patience: seconds(60),
    deadline: seconds(10),
    backoff: { base: millis(1000), cap: millis(8000) },
  })
  return { time, pacer, signal: new AbortController().signal }
}
const busy = () => new AppError('unavailable', 'busy', { retryable: true })

test('calls beyond the burst come at the rate, however many ask at once', async () => {
  const { time, pacer, signal } = world({ perSecond: 2, burst: 3 })
  const at: number[] = []
  const calls = Array.from({ length: 7 }, () =>
    pacer.run(() => Promise.resolve(at.push(time.clock.mono())), signal),
  )
  await time.advance(10_000)
  await Promise.all(calls)
  expect(at).toEqual([0, 0, 0, 500, 1000, 1500, 2000])
  expect(time.pending()).toBe(0)
})

test('a retryable failure is tried again with growing pauses, until the patience is spent', async () => {
  const { time, pacer, signal } = world()
  const at: number[] = []
  const outcome = expect(
    pacer.run(() => {
      at.push(time.clock.mono())
      return Promise.reject(busy())
    }, signal),
  ).rejects.toMatchObject({ code: 'unavailable' })
  await time.advance(200_000)
  await outcome
  expect(at.slice(0, 6)).toEqual([0, 500, 1500, 3500, 7500, 11_500])
  expect(at.at(-1)).toBeLessThanOrEqual(60_000)
  expect(at.length).toBeGreaterThan(10)
  expect(time.pending()).toBe(0)
})

test('what another try cannot mend is not tried again', async () => {
  const { pacer, signal } = world()
  let calls = 0
  const call = () => {
    calls += 1
    return Promise.reject(new AppError('forbidden', 'no'))
  }
  await expect(pacer.run(call, signal)).rejects.toMatchObject({ code: 'forbidden' })
  expect(calls).toBe(1)
})

test('a call without an answer is ended at its deadline', async () => {
  const { time, pacer, signal } = world()
  const call = (until: AbortSignal) =>
    new Promise<never>((_, reject) => until.addEventListener('abort', () => reject(until.reason)))
  const outcome = expect(pacer.run(call, signal)).rejects.toMatchObject({ name: 'TimeoutError' })
  await time.advance(10_000)
  await outcome
})

test('an abort ends the waiting at once', async () => {
  const { time, pacer } = world({ perSecond: 0.01, burst: 1 })
  const stop = new AbortController()
  await pacer.run(() => Promise.resolve(), stop.signal)
  const waiting = expect(pacer.run(() => Promise.resolve(), stop.signal)).rejects.toThrow('stopped')
  await time.advance(1000)
  stop.abort(new Error('stopped'))
  await waiting
  expect(time.pending()).toBe(0)
})
