import { AppError } from '@understudy/shared/core/app-error'
import { instant, seconds } from '@understudy/shared/core/time'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { OpenDatabase } from '../storage/database.ts'
import { dialects, testDatabase } from '../storage/testing.ts'
import type { Message } from './bodies.ts'
import { openNotifications } from './notifications.ts'
import { createOutbox } from './outbox.ts'
import type { Receiver } from './receivers.ts'
import type { Attempt } from './retries.ts'
import { anIncident, aReceiver } from './testing.ts'

const silent = pino({ level: 'silent' })
const OK: Attempt = { ok: true, status: 200, error: null, retryAfter: null, ref: null }
const AWAY: Attempt = { ok: false, status: null, error: 'connect ECONNREFUSED', retryAfter: null, ref: null }
const ENDED = { outcome: 'promoted', closed_at: '2026-01-01T00:00:02.000Z' } as const

describe.each(dialects)('the outbox on %s', (dialect) => {
  let database: OpenDatabase
  let time: VirtualTime
  const running: { stop: AbortController; ended: Promise<void> }[] = []
  beforeEach(async () => {
    time = createVirtualTime(Date.parse('2026-01-01T00:00:00.000Z'))
    database = await testDatabase(dialect)
  }, 60_000)
  afterEach(async () => {
    for (const { stop, ended } of running.splice(0)) {
      stop.abort()
      await ended
    }
    await database.close()
  })

  /** A coordinator that tells these; `answer` is what they answer to what. */
  function coordinator(
    receivers: readonly Receiver[],
    answer: (receiver: string, message: Message) => Promise<Attempt> | Attempt,
    recorded: readonly ReturnType<typeof anIncident>[] = [],
    reread?: () => readonly Receiver[],
  ) {
    const registry = new Registry()
    const notifications = openNotifications({
      ...{ receivers, reread, db: database.bulk, publicUrl: 'https://u.example', registry },
      incidents: { list: async () => ({ items: recorded, next: null }) },
      poster: {
        post: async ({ name }, message) => answer(name, message),
        close: async () => undefined,
      },
      ...{ clock: time.clock, random: () => 0, log: silent },
    })
    const stop = new AbortController()
    const ended = notifications.service.run(stop.signal)
    running.push({ stop, ended })
    return { notifications, registry, kill: () => stop.abort() }
  }
  /** Databases answer in their own time: the clock is moved until it holds. */
  async function until(holds: () => boolean | Promise<boolean>, step = 0): Promise<void> {
    for (const limit = performance.now() + 30_000; !(await holds()); ) {
      if (performance.now() > limit) throw new Error('it did not happen')
      await time.advance(step)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }

  test('each stage is said once and in order, however often the incident changes', async () => {
    const said: string[] = []
    const { notifications, registry } = coordinator([aReceiver({})], (_, { id }) => {
      said.push(id.split('_')[1] ?? '')
      return OK
    })
    for (const incident of [{}, {}, ENDED, ENDED]) notifications.onIncident(anIncident(incident))
    await until(async () => (await notifications.deliveries({ limit: 9, status: 'sent' })).items.length === 2)
    expect(said).toEqual(['receipt', 'outcome'])
    const { items } = await notifications.deliveries({ limit: 1 })
    expect(items).toMatchObject([{ stage: 'outcome', status: 'sent', attempts: 1, last_error: null }])
    expect((await notifications.receivers()).items).toMatchObject([
      { name: 'ops', origin: 'https://ops.example', secrets: 1, waiting: 0, last_error: null },
    ])
    expect(await registry.metrics()).toContain(
      'understudy_notifications_total{receiver="ops",result="sent"} 2',
    )
  })

  test('a receiver that is away keeps no other waiting; it is told everything, in order, when it is back', async () => {
    let isAway = true
    const said: string[] = []
    const { notifications } = coordinator(
      [aReceiver({ name: 'away' }), aReceiver({ name: 'there' })],
      (receiver, { id }) => {
        if (receiver === 'away' && isAway) return AWAY
        said.push(`${receiver} ${id.split('_')[1]}`)
        return OK
      },
    )
    notifications.onIncident(anIncident({}))
    notifications.onIncident(anIncident(ENDED))
    await until(() => said.length === 2)
    expect(said).toEqual(['there receipt', 'there outcome'])
    await until(async () => {
      const [away, there] = (await notifications.receivers()).items
      return away?.last_error !== null && there?.waiting === 0
    })
    expect((await notifications.receivers()).items).toMatchObject([
      { name: 'away', waiting: 2, last_error: 'connect ECONNREFUSED' },
      { name: 'there', waiting: 0 },
    ])
    isAway = false
    await until(() => said.length === 4, 500)
    expect(said.slice(2)).toEqual(['away receipt', 'away outcome'])
  })

  test('what a coordinator that was killed had not sent, the next one sends; what it had not written down too', async () => {
    const never = new Promise<Attempt>(() => undefined)
    const first = coordinator([aReceiver({})], () => never)
    first.notifications.onIncident(anIncident({}))
    await until(async () => (await first.notifications.receivers()).items[0]?.waiting === 1)
    // It is in the middle of an attempt and does not come back.
    running.splice(0)
    first.kill()
    const said: string[] = []
    const ended = anIncident(ENDED)
    const second = coordinator(
      [aReceiver({})],
      (_, { id }) => {
        said.push(id.split('_')[1] ?? '')
        return OK
      },
      [ended],
    )
    await until(() => said.length === 2, 1000)
    expect(said).toEqual(['receipt', 'outcome'])
    second.notifications.onIncident(ended)
    await until(async () => (await second.notifications.receivers()).items[0]?.waiting === 0)
    expect(said).toHaveLength(2)
  })

  test('of two coordinators one sends', async () => {
    const said: string[] = []
    const answer = async (_: string, { id }: Message) => {
      said.push(id)
      return OK
    }
    const both = [coordinator([aReceiver({})], answer), coordinator([aReceiver({})], answer)]
    const incidents = Array.from({ length: 8 }, (_, i) =>
      anIncident({ id: `11111111-1111-4111-8111-11111111111${i}`, ...(i % 2 ? ENDED : {}) }),
    )
    for (const incident of incidents) for (const { notifications } of both) notifications.onIncident(incident)
    await until(() => said.length >= 12, 100)
    await until(async () => (await both[0]?.notifications.receivers())?.items[0]?.waiting === 0, 100)
    expect(said.toSorted()).toEqual([...new Set(said)].toSorted())
    expect(said).toHaveLength(12)
  })

  test('later messages of an incident refer to the first', async () => {
    const refs: (string | null)[] = []
    const slack = aReceiver({ target: { kind: 'slack', token: 'x'.repeat(20), channel: 'C1' } })
    const { notifications } = coordinator([slack], (_, { threadRef }) => {
      refs.push(threadRef)
      return { ...OK, ref: `ts-${refs.length}` }
    })
    notifications.onIncident(anIncident({}))
    notifications.onIncident(anIncident(ENDED))
    notifications.onIncident(anIncident({ id: '22222222-2222-4222-8222-222222222222' }))
    await until(() => refs.length === 3)
    expect(refs.toSorted()).toEqual([null, null, 'ts-1'].toSorted())
  })

  test('nobody is told of what was before he was named', async () => {
    const said: string[] = []
    const { notifications } = coordinator([aReceiver({})], (_, { id }) => {
      said.push(id)
      return OK
    })
    // It counts from its start, and not from the first that it hears.
    await until(
      async () => (await database.db.selectFrom('notification_receivers').selectAll().execute()).length === 1,
    )
    await time.advance(1000)
    notifications.onIncident(anIncident({ detected_at: '2025-12-31T23:59:59.000Z' }))
    notifications.onIncident(anIncident({ id: '22222222-2222-4222-8222-222222222222' }))
    await until(() => said.length > 0)
    expect(said).toEqual(['22222222-2222-4222-8222-222222222222_receipt'])
  })

  test('an alert is told when it is new, and again when it is worse', async () => {
    const said: string[] = []
    const { notifications } = coordinator([aReceiver({ stages: ['alert'] })], (_, { text }) => {
      said.push(text)
      return OK
    })
    const alert = { id: 'a1', model_id: 'm', kind: 'SCORE_DRIFT', subject: 'score', said: 'it drifts' }
    for (const severity of ['warn', 'warn', 'alert'] as const) notifications.onAlert({ ...alert, severity })
    notifications.onIncident(anIncident({}))
    await until(() => said.length === 2)
    expect(said.map((text) => text.split(':')[0])).toEqual(['warn', 'alert'])
  })

  test('who is added is told of what follows, where it is by then; who is removed is not; a file that is wrong changes nothing', async () => {
    const said: string[] = []
    let file: readonly Receiver[] | string = [aReceiver({ name: 'a' })]
    const { notifications } = coordinator(
      [aReceiver({ name: 'a' })],
      (name, { id }) => {
        said.push(`${name} ${id.slice(0, 1)}`)
        return OK
      },
      [],
      () => {
        if (typeof file === 'string') throw new AppError('config_invalid', file)
        return file
      },
    )
    const tell = (digit: string) =>
      notifications.onIncident(
        anIncident({
          id: `${digit.repeat(8)}-1111-4111-8111-111111111111`,
          detected_at: new Date(time.clock.now()).toISOString(),
        }),
      )
    await until(async () => (await notifications.receivers()).items.length === 1)
    await time.advance(1000)
    tell('1')
    await until(() => said.length === 1)

    file = [aReceiver({ name: 'a' }), aReceiver({ name: 'b' })]
    // Nobody asks for it: it is seen by itself.
    await until(async () => (await notifications.receivers()).items.length === 2, 1000)
    await until(
      async () => (await database.db.selectFrom('notification_receivers').selectAll().execute()).length === 2,
    )
    await time.advance(1000)
    tell('2')
    await until(() => said.length === 3)
    expect(said.toSorted()).toEqual(['a 1', 'a 2', 'b 2'])

    file = 'notify.yaml:3: receivers[0].url: must be an http or https address'
    expect(() => notifications.reload()).toThrow(file)
    expect(await notifications.receivers()).toMatchObject({
      items: [{ name: 'a' }, { name: 'b' }],
      problem: file,
    })

    file = [aReceiver({ name: 'b' })]
    notifications.reload()
    expect(await notifications.receivers()).toMatchObject({ items: [{ name: 'b' }], problem: null })
    tell('3')
    await until(() => said.length === 4)
    expect(said.at(-1)).toBe('b 3')
  })

  test('a claim that has run out is another one’s, and what the first says then is not written', async () => {
    const outbox = createOutbox(database.bulk)
    const now = instant(1000)
    const message = { thread: 't', stage: 'receipt', kind: 'notice', agent_id: null, text: '', payload: '{}' }
    await outbox.add([{ ...message, id: 't_receipt', receiver: 'r' }], now)
    const first = await outbox.claim('r', 'one', now, seconds(1))
    expect(await outbox.claim('r', 'two', now, seconds(1))).toBeUndefined()
    const second = await outbox.claim('r', 'two', instant(2000), seconds(1))
    if (!first || !second) throw new Error('not claimed')
    const settled = {
      ...{ status: 'sent', next_at: 0, last_at: 2000, last_status: 200, last_error: null },
      ...{ ref: null, sent_at: 2000 },
    }
    expect(await outbox.settle(first, settled)).toBe(false)
    expect(await outbox.settle(second, settled)).toBe(true)
    expect(await outbox.purge(instant(1000))).toBe(0)
    expect(await outbox.purge(instant(1001))).toBe(1)
  })
})
