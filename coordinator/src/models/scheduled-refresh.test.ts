import { hours, minutes } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import { startModelBench, until } from './bench-testing.ts'
import { logistic, testModel } from './testing.ts'

test('with MODEL_REFRESH=daily the active version is refreshed a day after the start and after the last time, not before', async () => {
  const time = createVirtualTime(Date.now())
  const bench = await startModelBench('sqlite', { clock: time.clock, refresh: 'daily' })
  try {
    await bench.activated(testModel())
    const pid = bench.pidOf('active')
    const history = () => bench.models.refresh.history(undefined, 10)
    // It looks every ten minutes: exactly to that moment, so that no limit of a process passes by.
    const look = () => time.advance(minutes(10))
    await look()
    time.jumpWall(hours(23))
    await look()
    expect(await history()).toEqual([])
    time.jumpWall(hours(1))
    await look()
    await until(async () => (await history())[0]?.status === 'completed')
    expect(await history()).toMatchObject([{ trigger: 'scheduled', actor: 'coordinator' }])
    await until(() => bench.pidOf('active') !== pid)
    expect(await bench.ask()).toBeCloseTo(logistic(1), 6)
    await bench.restart()
    await until(() => bench.models.serving.active !== undefined)
    await look()
    expect(await history(), 'a restart adds none').toHaveLength(1)
  } finally {
    await bench.close()
  }
})
