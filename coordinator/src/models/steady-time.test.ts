import { hours, minutes } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createSteadyTime } from './steady-time.ts'

const START = 1_700_000_000_000
const YEAR = 365 * hours(24)

test('a clock that goes on is believed; one that jumps ahead only after a day', async () => {
  const time = createVirtualTime(START)
  const steady = createSteadyTime(time.clock, START - minutes(5))
  await time.advance(hours(30))
  expect(steady()).toBe(time.clock.now())
  time.jumpWall(YEAR)
  expect(steady()).toBe(START + hours(30))
  await time.advance(hours(23))
  expect(steady()).toBe(START + hours(53))
  await time.advance(hours(2))
  expect(steady()).toBe(time.clock.now())
})

test('a clock that is set right again within the day was never believed', async () => {
  const time = createVirtualTime(START)
  const steady = createSteadyTime(time.clock, undefined)
  time.jumpWall(YEAR)
  steady()
  await time.advance(hours(20))
  time.jumpWall(-YEAR)
  expect(steady()).toBe(START + hours(20))
  time.jumpWall(YEAR)
  await time.advance(hours(20))
  expect(steady(), 'the second jump begins anew').toBe(START + hours(40))
})

test('what is stored says what time it was: a start with a clock that is ahead is noticed', async () => {
  const time = createVirtualTime(START + YEAR)
  expect(createSteadyTime(time.clock, START)()).toBe(START)
  expect(createSteadyTime(time.clock, undefined)(), 'nothing is stored').toBe(START + YEAR)
  expect(createSteadyTime(time.clock, START + 2 * YEAR)(), 'stored by a clock that was ahead').toBe(
    START + YEAR,
  )
})

test('it is never ahead of the clock, and no single jump of less than a day moves it by more than an hour', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          go: fc.integer({ min: 0, max: 3_600_000 }),
          jump: fc.integer({ min: -1e10, max: 1e10 }),
        }),
        {
          maxLength: 20,
        },
      ),
      async (steps) => {
        const time = createVirtualTime(START)
        const steady = createSteadyTime(time.clock, undefined)
        let before: number = steady()
        for (const { go, jump } of steps) {
          await time.advance(go)
          time.jumpWall(jump)
          const now = steady()
          expect(now).toBeLessThanOrEqual(time.clock.now())
          expect(now - before).toBeLessThanOrEqual(go + hours(1))
          before = now
        }
      },
    ),
    { numRuns: 50 },
  )
})
