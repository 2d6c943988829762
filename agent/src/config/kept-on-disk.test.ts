import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { keepOnDisk } from './kept-on-disk.ts'

/** What is kept on a disk that refuses everything while `full`. */
function onDisk() {
  const time = createVirtualTime()
  const disk = { full: true, tried: 0, holds: '' }
  const kept = keepOnDisk<string>({
    what: 'the word',
    async write(value) {
      disk.tried += 1
      if (disk.full) throw new Error('ENOSPC: no space left on device')
      disk.holds = value
    },
    clock: time.clock,
    log: pino({ level: 'silent' }),
  })
  const stop = new AbortController()
  const running = kept.run(stop.signal)
  const end = () => {
    stop.abort()
    return running
  }
  return { time, disk, kept, end }
}

test('a disk that refuses shows as degraded and is asked again until it takes the newest', async () => {
  const { time, disk, kept, end } = onDisk()
  kept.keep('first')
  await time.advance(1000)
  expect(kept.degraded).toMatchObject({
    code: 'data_not_kept',
    message: 'the word cannot be written down, so a restart would not know: ENOSPC: no space left on device',
  })
  kept.keep('second')
  await time.advance(15_000)
  expect(disk.tried).toBe(3)
  disk.full = false
  await time.advance(10_000)
  expect(disk).toMatchObject({ tried: 4, holds: 'second' })
  expect(kept.degraded).toBeUndefined()
  await time.advance(60_000)
  expect(disk.tried).toBe(4)
  await end()
})

test('at its end nothing is tried any more, and what is being written is waited for', async () => {
  const { time, disk, kept, end } = onDisk()
  kept.keep('first')
  await time.advance(1000)
  disk.full = false
  kept.keep('last')
  await end()
  expect(disk.holds).toBe('last')
  disk.full = true
  kept.keep('too late')
  await time.advance(60_000)
  expect(time.pending()).toBe(0)
})
