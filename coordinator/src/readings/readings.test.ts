import type { JsonChange } from '@understudy/shared/core/json-change'
import { applyJsonChange, type Json } from '@understudy/shared/core/json-change'
import type { ReadingFrame, ReadingsMessage, ReadingsRequest } from '@understudy/shared/protocol/readings'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import fc from 'fast-check'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterEach, describe, expect, test } from 'vitest'
import type { Principal } from '../http/http.ts'
import { messagesOf } from './messages.ts'
import { createReadings } from './readings.ts'

const viewer: Principal = { kind: 'operator', name: 'v', role: 'viewer', viaCookie: true }

/** A page that keeps what it was told, and the value of each reading as it knows it. */
function page(readings: ReturnType<typeof createReadings>, who: () => Principal | undefined) {
  const frames: ReadingsMessage[] = []
  const values = new Map<number, Json>()
  const closed: number[] = []
  const socket = {
    bufferedAmount: 0,
    text: '',
    send(message: string) {
      const said = JSON.parse(message) as ReadingsMessage
      if (said.type === 'part') {
        socket.text += said.text
        if (said.more) return
        const whole = socket.text
        socket.text = ''
        return socket.take(JSON.parse(whole) as ReadingsMessage)
      }
      socket.take(said)
    },
    take(said: ReadingsMessage) {
      frames.push(said)
      if (said.type === 'snapshot') values.set(said.id, said.value)
      if (said.type === 'patch')
        values.set(said.id, applyJsonChange(values.get(said.id) ?? null, said.change))
    },
    close: (code = 0) => void closed.push(code),
  }
  const session = readings.join(socket, { principal: who(), whoNow: async () => who() })
  const say = (request: ReadingsRequest) => session.receive(JSON.stringify(request))
  /** What kinds of frames have come since the last time. */
  const heard = () => frames.splice(0).map((one) => one.type + ('seq' in one ? ` ${one.id} ${one.seq}` : ''))
  return { frames, values, closed, socket, session, say, heard }
}

const stops: AbortController[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop.abort()
})

function start() {
  const time = createVirtualTime()
  const api = { value: { items: [1] } as unknown, status: 200, took: 0 }
  const asked: string[] = []
  let at = 0
  let most = 0
  const registry = new Registry()
  const readings = createReadings({
    async ask(path) {
      asked.push(path)
      at += 1
      most = Math.max(most, at)
      const text = JSON.stringify(api.value)
      const { status } = api
      if (api.took > 0) await new Promise<void>((done) => time.clock.timer(api.took as never, done))
      at -= 1
      return { status, text }
    },
    clock: time.clock,
    log: pino({ level: 'silent' }),
    registry,
  })
  const stop = new AbortController()
  stops.push(stop)
  void readings.run(stop.signal)
  let principal: Principal | undefined | Error = viewer
  const who = (now: Principal | undefined | Error) => {
    principal = now
  }
  const whoNow = () => {
    if (principal instanceof Error) throw principal
    return principal
  }
  const counted = async (name: string) =>
    Object.fromEntries(
      ((await registry.getSingleMetric(name)?.get())?.values ?? []).map(({ labels, value }) => [
        Object.values(labels).join(),
        value,
      ]),
    )
  return {
    ...{ time, api, asked, readings, who, counted },
    most: () => most,
    open: () => page(readings, whoNow),
  }
}

const watch = (id: number, name = 'receivers') => ({ type: 'watch', id, name }) as const

describe('a reading', () => {
  test('is told once as it is, and then as it changes', async () => {
    const { time, api, open } = start()
    const one = open()
    one.say(watch(1))
    await time.advance(0)
    expect(one.frames).toEqual([
      { type: 'snapshot', id: 1, seq: 0, path: '/api/notifications/receivers', value: { items: [1] } },
    ])
    await time.advance(3000)
    expect(one.heard()).toEqual(['snapshot 1 0'])
    api.value = { items: [1, 2], problem: null }
    await time.advance(2000)
    api.value = { items: [] }
    await time.advance(2000)
    expect(one.heard()).toEqual(['patch 1 1', 'patch 1 2'])
    expect(one.values.get(1)).toEqual({ items: [] })
  })

  test('is asked once for all who look, never twice at a time, and by nobody once nobody looks', async () => {
    const { time, api, asked, open, most } = start()
    api.took = 700
    const pages = [open(), open(), open()]
    for (const one of pages) one.say(watch(7))
    await time.advance(6000)
    expect([asked.length, most()]).toEqual([3, 1])
    for (const one of pages) expect(one.heard()[0]).toBe('snapshot 7 0')
    for (const one of pages.slice(1)) one.session.closed()
    pages[0]?.say({ type: 'leave', id: 7 })
    asked.length = 0
    await time.advance(20_000)
    expect(asked).toEqual([])
  })

  test('is read at once when something has happened to it, and at most five times a second', async () => {
    const { time, api, asked, readings, open } = start()
    const one = open()
    one.say(watch(1))
    one.say(watch(2, 'settings'))
    await time.advance(1000)
    asked.length = 0
    for (let i = 0; i < 50; i += 1) {
      api.value = { items: [i] }
      readings.touch('incident')
      await time.advance(20)
    }
    expect(new Set(asked)).toEqual(new Set(['/api/notifications/receivers']))
    expect(asked.length).toBeGreaterThan(2)
    expect(asked.length).toBeLessThanOrEqual(5)
    await time.advance(200)
    expect(one.values.get(1)).toEqual({ items: [49] })
  })

  test('that was read before somebody came is read again for them', async () => {
    const { time, api, open } = start()
    const [one, two] = [open(), open()]
    one.say(watch(1, 'settings'))
    await time.advance(1000)
    api.value = { items: ['newer'] }
    two.say(watch(1, 'settings'))
    await time.advance(1000)
    expect([two.frames[0], one.values.get(1)]).toMatchObject([{ value: api.value }, api.value])
  })

  test('is read on request, by a reading that begins after it, whether it has changed or not', async () => {
    const { time, api, open } = start()
    api.took = 500
    const one = open()
    one.say(watch(1, 'settings'))
    await time.advance(600)
    one.say({ type: 'read', id: 1, read: 1 })
    await time.advance(100)
    // That reading has begun before this.
    api.value = { items: ['after'] }
    one.say({ type: 'read', id: 1, read: 2 })
    await time.advance(450)
    expect(one.frames.filter(({ type }) => type !== 'snapshot')).toEqual([])
    await time.advance(1000)
    expect(one.frames.at(-1)).toMatchObject({ type: 'patch', read: 2 })
    one.say({ type: 'read', id: 1, read: 3 })
    await time.advance(1000)
    expect(one.frames.at(-1)).toEqual({ type: 'same', id: 1, seq: 2, read: 3 })
  })

  test('that cannot be read says so once, is tried again, and says when it is well', async () => {
    const { time, api, asked, open, counted } = start()
    const one = open()
    one.say(watch(1))
    await time.advance(0)
    const was = api.value
    Object.assign(api, { status: 503, value: { status: 503, code: 'unavailable', detail: 'away' } })
    await time.advance(12_000)
    expect(one.heard().filter((text) => text !== 'still')).toEqual(['snapshot 1 0', 'failed 1 1'])
    const two = open()
    two.say(watch(1))
    await time.advance(1000)
    expect(two.frames).toMatchObject([{ type: 'snapshot', value: was }, { problem: { detail: 'away' } }])
    asked.length = 0
    Object.assign(api, { status: 200, value: was })
    await time.advance(6000)
    expect(one.heard().filter((text) => text !== 'still')).toEqual(['same 1 2'])
    expect((await counted('understudy_readings_total')).failed).toBeGreaterThanOrEqual(2)
  })

  test('that takes too long has failed, and keeps nobody from their turn', async () => {
    const { time, api, open } = start()
    const one = open()
    one.say(watch(1))
    await time.advance(0)
    api.took = 3_600_000
    for (let i = 2; i <= 5; i += 1)
      one.say({ type: 'watch', id: i, name: 'drills', params: { id: `a-${i}` } })
    await time.advance(100)
    api.took = 0
    one.heard()
    await time.advance(35_000)
    const failed = one.frames.filter(({ type }) => type === 'failed')
    expect(failed).toHaveLength(4)
    expect(failed[0]).toMatchObject({ problem: { detail: 'it has not been read within 30 s' } })
    expect([...one.values.keys()]).toEqual([1, 2, 3, 4, 5])
  })

  test('begins anew where it is watched again', async () => {
    const { time, api, open } = start()
    const one = open()
    one.say(watch(1))
    await time.advance(1000)
    api.value = { items: [2] }
    one.say(watch(1))
    await time.advance(1000)
    expect(one.heard()).toEqual(['snapshot 1 0', 'snapshot 1 0'])
    expect(one.values.get(1)).toEqual({ items: [2] })
  })

  test('of another page than is open costs nobody their turn: four are read at once', async () => {
    const { time, api, open, most, asked } = start()
    api.took = 1000
    const one = open()
    for (let i = 1; i <= 10; i += 1)
      one.say({ type: 'watch', id: i, name: 'drills', params: { id: `agent-${i}` } })
    await time.advance(500)
    expect(asked).toHaveLength(4)
    await time.advance(2700)
    expect([most(), one.values.size]).toEqual([4, 10])
  })
})

describe('a page', () => {
  test('that does not read gets the latest alone once it does', async () => {
    const { time, api, open } = start()
    const one = open()
    one.say(watch(1))
    await time.advance(0)
    one.socket.bufferedAmount = 100_000
    for (let i = 0; i < 5; i += 1) {
      api.value = { items: [i] }
      await time.advance(2000)
    }
    expect(one.heard()).toEqual(['snapshot 1 0'])
    one.socket.bufferedAmount = 0
    await time.advance(200)
    expect([one.heard(), one.values.get(1)]).toEqual([['patch 1 1'], { items: [4] }])
  })

  test('that does not read for half a minute is cut off', async () => {
    const { time, open, counted, asked } = start()
    const one = open()
    one.say(watch(1))
    await time.advance(0)
    one.socket.bufferedAmount = 100_000
    await time.advance(31_000)
    expect([one.closed, one.heard()]).toEqual([[1013], ['snapshot 1 0']])
    expect(await counted('understudy_reading_pages_closed_total')).toMatchObject({ slow: 1, messages: 0 })
    asked.length = 0
    await time.advance(10_000)
    expect(asked).toEqual([])
  })

  test('hears every five seconds that nothing has changed', async () => {
    const { time, open } = start()
    const one = open()
    await time.advance(16_000)
    expect(one.heard()).toEqual(['still', 'still', 'still'])
  })

  test('stays while nobody can say who it is', async () => {
    const { time, open, who } = start()
    const one = open()
    who(new Error('the database is away'))
    await time.advance(20_000)
    expect(one.closed).toEqual([])
    who(undefined)
    await time.advance(6000)
    expect(one.closed).toEqual([4401])
  })

  test.each<[string, Principal | undefined]>([
    ['has ended', undefined],
    ['is an agent by now', { kind: 'agent', agentId: 'a', instanceId: 'i' }],
  ])('whose session %s is told to sign in', async (_, now) => {
    const { time, open, who } = start()
    const one = open()
    await time.advance(6000)
    expect(one.closed).toEqual([])
    who(now)
    await time.advance(6000)
    expect(one.closed).toEqual([4401])
  })

  test('is told what it cannot have, and everything else goes on', async () => {
    const { time, api, open } = start()
    const one = open()
    one.session.receive('not JSON')
    one.session.receive('{"type":"watch","id":3,"name":"pools","wish":1}')
    one.say({ type: 'watch', id: 4, name: 'passwords' })
    one.say({ type: 'leave', id: 99 })
    one.say({ type: 'read', id: 99, read: 1 })
    one.say(watch(1))
    await time.advance(0)
    expect(one.frames).toMatchObject([
      { type: 'refused', id: null, problem: { code: 'input_invalid' } },
      { type: 'refused', id: 3, problem: { code: 'input_invalid', errors: [{ pointer: '/wish' }] } },
      { type: 'refused', id: 4, problem: { code: 'not_found' } },
      { type: 'snapshot', id: 1 },
    ])
    one.heard()
    Object.assign(api, {
      status: 400,
      value: { status: 400, code: 'input_invalid', detail: 'no such window' },
    })
    one.say({ type: 'watch', id: 5, name: 'model-performance', params: { id: 'x' }, query: { window: '1y' } })
    await time.advance(0)
    expect(one.frames).toMatchObject([{ type: 'refused', id: 5, problem: { detail: 'no such window' } }])
  })

  test('watches forty readings at most', async () => {
    const { time, open } = start()
    const one = open()
    for (let id = 1; id <= 41; id += 1)
      one.say({ type: 'watch', id, name: 'drills', params: { id: `a-${id}` } })
    // One that it has already may begin anew.
    one.say({ type: 'watch', id: 40, name: 'engines' })
    await time.advance(1000)
    const refused = one.frames.filter(({ type }) => type === 'refused') as ReadingFrame[]
    expect([refused.map(({ id }) => id), one.values.size, one.closed]).toEqual([[41], 40, []])
  })

  test.each([
    [
      'asks without end',
      (say: (text: string) => void) => {
        for (let i = 0; i < 201; i += 1) say('{"type":"leave","id":1}')
      },
    ],
    ['says too much', (say: (text: string) => void) => say(`"${'x'.repeat(5000)}"`)],
  ])('that %s is cut off', async (_, flood) => {
    const { open, counted } = start()
    const one = open()
    flood((text) => one.session.receive(text))
    expect(one.closed).toEqual([1008])
    expect((await counted('understudy_reading_pages_closed_total')).messages).toBe(1)
  })
})

test('what is long comes in parts of at most 16 KB that make it whole', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), fc.nat(200), (some, times) => {
      const text = JSON.stringify(some.repeat(times))
      const messages = messagesOf(text)
      for (const message of messages) expect(Buffer.byteLength(message)).toBeLessThanOrEqual(16_384)
      if (messages.length === 1) {
        expect(messages).toEqual([text])
        return
      }
      const parts = messages.map((message) => JSON.parse(message) as { text: string; more: boolean })
      expect(parts.map(({ text: part }) => part).join('')).toBe(text)
      expect(parts.map(({ more }) => more)).toEqual(parts.map((_, i) => i < parts.length - 1))
    }),
  )
})

test('a change that leaves out nothing is what the next page is told by', async () => {
  const { time, api, open } = start()
  const one = open()
  api.value = { long: 'x'.repeat(20_000), n: 1 }
  one.say(watch(1))
  await time.advance(0)
  api.value = { long: 'x'.repeat(20_000), n: 2 }
  await time.advance(2000)
  const patch = one.frames.at(-1) as { change: JsonChange }
  expect([patch.change, one.values.get(1)]).toEqual([{ keys: { n: { set: 2 } } }, api.value])
})
