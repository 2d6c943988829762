import { seconds } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { flushSync } from 'svelte'
import { describe, expect, it } from 'vitest'
import { refused } from '../testkit/answers.ts'
import type { Answer } from './http.ts'
import { Reading } from './reading.svelte.ts'

const ok = (body: string): Answer<string> => ({ ok: true, status: 200, body })

function readingOf(...answers: Promise<Answer<string>>[]) {
  const time = createVirtualTime()
  let asked = 0
  const reading = new Reading(
    () => answers[asked++] ?? Promise.resolve(refused('nothing left')),
    time.clock,
    seconds(30),
  )
  return { reading, time, asked: () => asked }
}

describe('a reading', () => {
  it('asks again from time to time until it is ended', async () => {
    const { reading, time, asked } = readingOf(Promise.resolve(ok('one')), Promise.resolve(ok('two')))
    const end = reading.start()
    await time.advance(0)
    expect(reading.value).toBe('one')
    await time.advance(30_000)
    expect([reading.value, asked()]).toEqual(['two', 2])
    end()
    await time.advance(90_000)
    expect(asked()).toBe(2)
  })

  it('begins once in an effect, however often it is read', async () => {
    const { reading, time, asked } = readingOf(Promise.resolve(ok('one')))
    const end = $effect.root(() => {
      $effect(() => reading.start())
    })
    flushSync()
    await time.advance(1000)
    flushSync()
    await time.advance(1000)
    expect([reading.value, asked()]).toEqual(['one', 1])
    end()
  })

  it('keeps what it has when a later try fails, and says so', async () => {
    const { reading } = readingOf(Promise.resolve(ok('one')), Promise.resolve(refused('not now')))
    await reading.refresh()
    await reading.refresh()
    expect([reading.value, reading.failure?.detail]).toEqual(['one', 'not now'])
  })

  it('drops an answer that a later question has overtaken', async () => {
    const slow = Promise.withResolvers<Answer<string>>()
    const { reading } = readingOf(slow.promise, Promise.resolve(ok('new')))
    const first = reading.refresh()
    await reading.refresh()
    slow.resolve(ok('old'))
    await first
    expect([reading.value, reading.asking]).toEqual(['new', false])
  })

  it('takes what a change has answered', async () => {
    const slow = Promise.withResolvers<Answer<string>>()
    const { reading } = readingOf(slow.promise)
    const first = reading.refresh()
    reading.put('changed')
    slow.resolve(ok('before'))
    await first
    expect(reading.value).toBe('changed')
  })
})
