import { type Json, jsonChange } from '@understudy/shared/core/json-change'
import type { ReadingsMessage, ReadingsRequest } from '@understudy/shared/protocol/readings'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { describe, expect, it } from 'vitest'
import type { createTicker } from '../ui/ticker.svelte.ts'
import { Reading } from './reading.svelte.ts'
import { type Question, Readings, type ReadingsSocket } from './readings.svelte.ts'

const MODELS: Question<Json> = { name: 'models', query: { limit: '100' } }
const ENGINES: Question<Json> = { name: 'engines' }
const problem = { type: '', title: 'Not available now', status: 503, detail: 'away', code: 'x', errors: [] }

type Fake = ReadingsSocket & { sent: ReadingsRequest[]; closed: boolean }

function start() {
  const time = createVirtualTime()
  const sockets: Fake[] = []
  let lost = 0
  const readings = new Readings({
    open() {
      const socket = {
        ...{ onopen: null, onmessage: null, onclose: null, sent: [] as ReadingsRequest[], closed: false },
        send: (text: string) => void socket.sent.push(JSON.parse(text) as ReadingsRequest),
        close: () => {
          socket.closed = true
        },
      } as unknown as Fake
      sockets.push(socket)
      return socket
    },
    clock: time.clock,
    random: () => 0,
    ticker: {
      get now() {
        return time.clock.mono()
      },
    } as ReturnType<typeof createTicker>,
    onLost: () => {
      lost += 1
    },
  })
  const last = () => sockets.at(-1) as Fake
  const accept = () => last().onopen?.call({} as WebSocket, {} as Event)
  const say = (message: ReadingsMessage, socket = last()) =>
    socket.onmessage?.call({} as WebSocket, { data: JSON.stringify(message) } as MessageEvent)
  const cut = () => last().onclose?.call({} as WebSocket, {} as CloseEvent)
  const watch = (question = MODELS) => {
    const reading = new Reading(readings.of(question), time.clock)
    return { reading, end: reading.start() }
  }
  const snapshot = (value: Json, id = 1): ReadingsMessage => ({
    type: 'snapshot',
    id,
    seq: 0,
    path: '/',
    value,
  })
  const patch = (seq: number, before: Json, after: Json, more = {}): ReadingsMessage => ({
    ...{ type: 'patch', id: 1, seq, change: jsonChange(before, after) ?? { set: null } },
    ...more,
  })
  return { time, sockets, readings, last, accept, say, cut, watch, snapshot, patch, lost: () => lost }
}

/** Signed in, and a reading that has its first value. */
function opened() {
  const all = start()
  all.readings.start()
  const { reading, end } = all.watch()
  all.accept()
  all.say(all.snapshot({ items: [1] }))
  return { ...all, reading, end }
}

describe('readings', () => {
  it('are watched once there is a connection, and not before somebody is signed in', () => {
    const { readings, sockets, last, accept, watch } = start()
    watch()
    expect(sockets).toHaveLength(0)
    readings.start()
    expect([sockets.length, last().sent]).toEqual([1, []])
    accept()
    watch(ENGINES)
    expect(last().sent).toEqual([
      { type: 'watch', id: 1, name: 'models', query: { limit: '100' } },
      { type: 'watch', id: 2, name: 'engines' },
    ])
  })

  it('are what the coordinator says: as it is, and what changes of it', () => {
    const { reading, say, patch, end, last } = opened()
    expect(reading.value).toEqual({ items: [1] })
    say(patch(1, { items: [1] }, { items: [1, 2], next: null }))
    expect(reading.value).toEqual({ items: [1, 2], next: null })
    end()
    expect(last().sent.at(-1)).toEqual({ type: 'leave', id: 1 })
    say(patch(2, {}, { items: [] }))
    expect(reading.value).toEqual({ items: [1, 2], next: null })
  })

  it('may come in parts', () => {
    const { reading, say } = opened()
    const text = JSON.stringify({ type: 'patch', id: 1, seq: 1, change: { set: 'ü"'.repeat(50) } })
    for (let at = 0; at < text.length; at += 40)
      say({ type: 'part', text: text.slice(at, at + 40), more: at + 40 < text.length })
    expect(reading.value).toBe('ü"'.repeat(50))
  })

  it('begin anew after a gap, and do not take what is of before', () => {
    const { reading, say, patch, snapshot, last } = opened()
    say(patch(3, { items: [1] }, { items: [3] }))
    expect([reading.value, last().sent.at(-1)]).toEqual([
      { items: [1] },
      { type: 'watch', id: 1, name: 'models', query: { limit: '100' } },
    ])
    const { length } = last().sent
    say(patch(4, { items: [3] }, { items: [4] }))
    expect([reading.value, last().sent.length]).toEqual([{ items: [1] }, length])
    say(snapshot({ items: [4] }))
    say(patch(1, { items: [4] }, { items: [5] }))
    expect([reading.value, last().sent.length]).toEqual([{ items: [5] }, length])
  })

  it('come back after the connection was lost, each from its beginning', async () => {
    const { reading, readings, say, snapshot, cut, time, accept, sockets, last, lost } = opened()
    cut()
    expect([reading.value, lost()]).toEqual([{ items: [1] }, 1])
    await time.advance(500)
    accept()
    expect(last().sent).toMatchObject([{ type: 'watch', id: 1 }])
    say(snapshot({ items: [2] }))
    expect([reading.value, sockets.length, readings.stale]).toEqual([{ items: [2] }, 2, false])
  })

  it('are stale after ten seconds without a word, and then tried again', async () => {
    const { readings, say, time, sockets, snapshot, accept } = opened()
    await time.advance(9000)
    say({ type: 'still' })
    await time.advance(9900)
    expect([readings.stale, sockets.length]).toEqual([false, 1])
    await time.advance(100)
    expect([readings.stale, sockets[0]?.closed]).toEqual([true, true])
    await time.advance(500)
    accept()
    expect(readings.stale).toBe(true)
    say(snapshot({ items: [] }))
    expect(readings.stale).toBe(false)
  })

  it('are stale where there was never a connection, and not where nothing is looked at', async () => {
    const { readings, time, cut, watch } = start()
    readings.start()
    await time.advance(60_000)
    expect(readings.stale).toBe(false)
    const { end } = watch()
    cut()
    await time.advance(9999)
    expect(readings.stale).toBe(false)
    await time.advance(1)
    expect(readings.stale).toBe(true)
    end()
    expect(readings.stale).toBe(false)
  })

  it('are read on request; that is done once the answer was told', async () => {
    const { reading, say, patch, last, time } = opened()
    let done = false
    const refreshed = reading.refresh().then(() => {
      done = true
    })
    const asked = last().sent.at(-1) as Extract<ReadingsRequest, { type: 'read' }>
    expect(asked).toMatchObject({ type: 'read', id: 1 })
    say(patch(1, { items: [1] }, { items: [2] }))
    await time.advance(0)
    expect([done, reading.asking]).toEqual([false, true])
    say({ type: 'same', id: 1, seq: 2, read: asked.read })
    await refreshed
    expect([done, reading.asking]).toEqual([true, false])
  })

  it('are known to be as they are for as long as anything comes', async () => {
    const { reading, say, time, watch } = opened()
    watch(ENGINES)
    const first = reading.readAt
    for (let seq = 0; seq < 12; seq += 1) {
      await time.advance(3000)
      say({ type: 'same', id: 2, seq })
    }
    expect(reading.readAt).toBeGreaterThan(first ?? Number.POSITIVE_INFINITY)
  })

  it('do not keep anybody waiting for an answer that will not come', async () => {
    const { reading, cut, end, time, accept, say, patch, snapshot } = opened()
    const first = reading.refresh()
    cut()
    await first
    await time.advance(500)
    accept()
    say(snapshot({ items: [1] }))
    // A gap: it begins anew.
    const second = reading.refresh()
    say(patch(7, {}, {}))
    await second
    const third = reading.refresh()
    end()
    await third
    await reading.refresh()
    expect(reading.asking).toBe(false)
  })

  it('that fail keep what was read, and say why; one that is refused too', () => {
    const { reading, say } = opened()
    say({ type: 'failed', id: 1, seq: 1, problem })
    expect([reading.value, reading.failure?.detail]).toEqual([{ items: [1] }, 'away'])
    say({ type: 'same', id: 1, seq: 2 })
    expect(reading.failure).toBeUndefined()
    say({ type: 'refused', id: 1, problem: { ...problem, status: 404, detail: 'no such reading' } })
    expect(reading.failure).toMatchObject({ kind: 'refused', detail: 'no such reading' })
  })

  it('that were refused are asked for anew on request', async () => {
    const { reading, say, snapshot, last } = opened()
    say({ type: 'refused', id: 1, problem })
    const again = reading.refresh()
    expect(last().sent.at(-1)).toMatchObject({ type: 'watch', id: 1 })
    say(snapshot({ items: [2] }))
    await again
    expect([reading.value, reading.failure, reading.asking]).toEqual([{ items: [2] }, undefined, false])
  })

  it('that are paused change when they go on, other than what was asked for', async () => {
    const { reading, readings, say, patch, watch, snapshot, last } = opened()
    readings.pause(true)
    say(patch(1, { items: [1] }, { items: [2] }))
    expect(reading.value).toEqual({ items: [1] })
    const other = watch(ENGINES)
    say(snapshot('engines', 2))
    expect(other.reading.value).toBe('engines')
    const refreshed = reading.refresh()
    const { read } = last().sent.at(-1) as { read: number }
    say(patch(2, { items: [2] }, { items: [3] }, { read }))
    await refreshed
    expect(reading.value).toEqual({ items: [3] })
    say(patch(3, { items: [3] }, { items: [4] }))
    readings.pause(false)
    expect(reading.value).toEqual({ items: [4] })
  })

  it('end when nobody is signed in any more', async () => {
    const { readings, last, time, sockets } = opened()
    readings.stop()
    await time.advance(60_000)
    expect([last().closed, sockets.length, time.pending()]).toEqual([true, 1, 0])
  })
})
