import { type Instant, instant, mono } from '@understudy/shared/core/time'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type InterruptionNotice,
  parseIdentity,
  parseInterruption,
  parseMaintenance,
  parseRebalance,
  parseTargetLifecycle,
} from './imds-documents.ts'
import { emptyMemory, type NoticeMemory, seeInterruption, seeRebalance } from './notice-memory.ts'

test('the documents are read as AWS prints them', () => {
  expect(parseInterruption('{"action": "terminate", "time": "2017-09-18T08:22:00Z"}')).toEqual({
    action: 'terminate',
    time: Date.UTC(2017, 8, 18, 8, 22),
  })
  expect(parseRebalance('{"noticeTime": "2020-10-27T08:22:00Z"}')).toEqual({
    noticeTime: Date.UTC(2020, 9, 27, 8, 22),
  })
  expect(parseTargetLifecycle('Warmed:Stopped\n')).toBe('Warmed:Stopped')
  expect(
    parseMaintenance(
      '[{"NotBefore":"21 Jan 2019 09:00:43 GMT","Code":"system-reboot","Description":"scheduled reboot","EventId":"instance-event-1","NotAfter":"21 Jan 2019 09:17:23 GMT","State":"active"}]',
    ),
  ).toEqual([
    {
      eventId: 'instance-event-1',
      code: 'system-reboot',
      state: 'active',
      description: 'scheduled reboot',
      notBefore: Date.UTC(2019, 0, 21, 9, 0, 43),
    },
  ])
  expect(parseMaintenance('[]')).toEqual([])
  expect(
    parseIdentity(
      '{\n  "instanceId" : "i-1",\n  "instanceType" : "m5.large",\n  "availabilityZone" : "us-east-1a",\n  "privateIp" : "10.0.0.1"\n}',
    ),
  ).toEqual({
    instanceId: 'i-1',
    instanceType: 'm5.large',
    availabilityZone: 'us-east-1a',
    privateIp: '10.0.0.1',
  })
})

test.each([
  '',
  'none',
  '{}',
  '{"action":"explode","time":"2017-09-18T08:22:00Z"}',
  '{"action":"stop","time":"soon"}',
  '[1,2',
])('%j is no notice', (body) => {
  expect(parseInterruption(body)).toBeUndefined()
})

const at = (minutes: number): Instant => instant(Date.UTC(2026, 0, 1) + minutes * 60_000)
const notice = (minutes: number): InterruptionNotice => ({ action: 'terminate', time: at(minutes) })

/** Sees one reading after the other; returns what was new, moved or withdrawn. */
function see(
  readings: readonly { read: InterruptionNotice | undefined; wall: Instant }[],
  from: NoticeMemory = emptyMemory,
) {
  let memory = from
  const changes = readings.map(({ read, wall }, index) => {
    const step = seeInterruption(memory, read, { wall, mono: mono(index) })
    memory = step.memory
    return step.change.kind
  })
  return { changes, memory }
}

test('a notice that is repeated is one notice', () => {
  const { changes } = see([
    { read: undefined, wall: at(0) },
    { read: notice(2), wall: at(0) },
    { read: notice(2), wall: at(0.1) },
    { read: notice(2), wall: at(0.2) },
  ])
  expect(changes).toEqual(['same', 'new', 'same', 'same'])
})

test('a notice whose time moves is one notice', () => {
  const { changes, memory } = see([
    { read: notice(2), wall: at(0) },
    { read: notice(2.1), wall: at(0.1) },
    { read: notice(1.9), wall: at(0.2) },
  ])
  expect(changes).toEqual(['new', 'moved', 'moved'])
  expect(memory.open?.id).toBe(`interruption-${at(2)}`)
})

test('a past time is acted on once, and never again once it was handled', () => {
  const first = see([{ read: notice(-5), wall: at(0) }])
  expect(first.changes).toEqual(['new'])
  // The agent is restarted; the service still shows the same time.
  const restarted: NoticeMemory = { ...emptyMemory, handledUpTo: first.memory.handledUpTo }
  expect(see([{ read: notice(-5), wall: at(1) }], restarted).changes).toEqual(['same'])
  // It is shown again a little different, still in the past.
  expect(see([{ read: notice(-4.5), wall: at(1) }], restarted).changes).toEqual(['same'])
})

const none = { read: undefined, wall: at(0.5) }

test('a withdrawn notice is told, and a later one is a new one', () => {
  const { changes } = see([
    { read: notice(2), wall: at(0) },
    none,
    none,
    none,
    none,
    { read: notice(60), wall: at(58) },
  ])
  expect(changes).toEqual(['new', 'same', 'same', 'withdrawn', 'same', 'new'])
})

test('a notice that is missing once or twice is the same notice', () => {
  const there = { read: notice(2), wall: at(0.5) }
  const { changes, memory } = see([there, none, none, there, none, none, there])
  expect(changes).toEqual(['new', 'same', 'same', 'same', 'same', 'same', 'same'])
  expect(memory.open?.id).toBe(`interruption-${at(2)}`)
})

test('a notice that is back after it was withdrawn counts again while its time is to come', () => {
  const back = (minutes: number) => ({ read: notice(2), wall: at(minutes) })
  const taken = see([back(0), none, none, none])
  expect(see([back(1.9)], taken.memory).changes).toEqual(['new'])
  expect(see([back(2.1)], taken.memory).changes).toEqual(['same'])
})

test('a restarted agent tells once more of a notice whose time is to come', () => {
  const restarted: NoticeMemory = { ...emptyMemory, handledUpTo: at(2) }
  const { changes, memory } = see([{ read: notice(2), wall: at(1) }], restarted)
  expect(changes).toEqual(['new'])
  // The same name: whoever hears of it knows it already.
  expect(memory.open?.id).toBe(`interruption-${at(2)}`)
})

test('however the time moves, one unbroken notice is new exactly once', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 30 }), (minutes) => {
      const { changes } = see(minutes.map((minute) => ({ read: notice(minute), wall: at(0) })))
      expect(changes.filter((change) => change === 'new')).toHaveLength(1)
    }),
  )
})

test('a rebalance recommendation stays for ever and is news once; a later one is news again', () => {
  expect(seeRebalance(undefined, { noticeTime: at(1) })).toBe(at(1))
  expect(seeRebalance(at(1), { noticeTime: at(1) })).toBeUndefined()
  expect(seeRebalance(at(1), undefined)).toBeUndefined()
  expect(seeRebalance(at(1), { noticeTime: at(9) })).toBe(at(9))
})
