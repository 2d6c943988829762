import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { flushSync } from 'svelte'
import { describe, expect, it } from 'vitest'
import { refused } from '../testkit/answers.ts'
import type { Answer } from './http.ts'
import { asked, type Ear, Reading } from './reading.svelte.ts'

const ok = (body: string): Answer<string> => ({ ok: true, status: 200, body })

describe('a reading of a call', () => {
  function readingOf(...answers: Promise<Answer<string>>[]) {
    const time = createVirtualTime()
    let count = 0
    const reading = new Reading(
      asked(() => answers[count++] ?? Promise.resolve(refused('nothing left'))),
      time.clock,
    )
    return { reading, time, asked: () => count }
  }

  it('begins once in an effect, however often it is read', async () => {
    const { reading, time, asked: count } = readingOf(Promise.resolve(ok('one')))
    const end = $effect.root(() => {
      $effect(() => reading.start())
    })
    flushSync()
    await time.advance(1000)
    flushSync()
    await time.advance(1000)
    expect([reading.value, count()]).toEqual(['one', 1])
    end()
  })

  it('keeps what it has when a later try fails, and says so', async () => {
    const { reading, time } = readingOf(Promise.resolve(ok('one')), Promise.resolve(refused('not now')))
    reading.start()
    await time.advance(0)
    await reading.refresh()
    expect([reading.value, reading.failure?.detail]).toEqual(['one', 'not now'])
  })

  it('drops an answer that a later question has overtaken, and one that nobody waits for', async () => {
    const [slow, late] = [Promise.withResolvers<Answer<string>>(), Promise.withResolvers<Answer<string>>()]
    const { reading, time } = readingOf(slow.promise, Promise.resolve(ok('new')), late.promise)
    const end = reading.start()
    await reading.refresh()
    slow.resolve(ok('old'))
    await time.advance(0)
    expect([reading.value, reading.asking]).toEqual(['new', false])
    const last = reading.refresh()
    expect(reading.asking).toBe(true)
    end()
    late.resolve(ok('late'))
    await last
    expect([reading.value, reading.asking]).toEqual(['new', false])
  })
})

describe('a reading that is told', () => {
  function told() {
    const time = createVirtualTime()
    let ear: Ear<string> | undefined
    const reading = new Reading<string>((mine) => {
      ear = mine
      return { read: async () => {}, end: () => {} }
    }, time.clock)
    reading.start()
    return { time, reading, ear: ear as Ear<string> | undefined }
  }

  it('is known to be so for as long as that is said, within half a minute', async () => {
    const { time, reading, ear } = told()
    ear?.still()
    expect(reading.readAt).toBeUndefined()
    ear?.value('one')
    const first = reading.readAt
    await time.advance(10_000)
    ear?.still()
    expect(reading.readAt).toBe(first)
    await time.advance(25_000)
    ear?.still()
    expect(reading.readAt).toBe(time.clock.mono())
  })

  it('that has failed has failed until it was read again', async () => {
    const { time, reading, ear } = told()
    ear?.value('one')
    const first = reading.readAt
    ear?.failed(refused('not now'))
    await time.advance(60_000)
    ear?.still()
    expect([reading.value, reading.failure?.detail, reading.readAt]).toEqual(['one', 'not now', first])
    ear?.same()
    expect([reading.failure, reading.readAt]).toEqual([undefined, time.clock.mono()])
  })
})
