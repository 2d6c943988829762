import { type IncidentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { instant, millis, mono } from '@understudy/shared/core/time'
import type { Proposal } from '@understudy/shared/failover/certificate'
import { expect, test } from 'vitest'
import { gapOf, lossOf, lossOfRest, newFlight, noteSealed, resultOf } from './flight.ts'

const incident = {
  id: 'x' as IncidentId,
  trigger: 'silence' as const,
  instance: instanceId('i-abc'),
  by: undefined,
  keepOld: true,
}
const replica = instanceId('i-bcd')
const flight = () => newFlight(incident, mono(10_000), 3, mono(9500))

test('a gap is counted from the freeze, or from the last sign of life', () => {
  expect(gapOf(flight(), mono(13_000))).toEqual({ from: 9500, millis: 3500 })
  expect(gapOf({ ...flight(), quietFrom: mono(10_200) }, mono(10_500))).toEqual({ from: 10_200, millis: 300 })
})

test('after a sealed hand-over nothing is missing', () => {
  expect(lossOf({ ...flight(), sealedFor: replica }, 'promoted', 500)).toMatchObject({
    kind: 'none',
    at_most_ms: 0,
  })
})

test('an epoch that was given up before the incident says nothing of its loss', () => {
  const proposal = (epoch: number) => ({ epoch, primary: replica }) as Proposal
  const running = flight()
  expect(noteSealed(running, proposal(3), { bytes: 0, names: 0 })).toBe(false)
  expect(lossOf(running, 'promoted', 500).kind).toBe('unknown')
  expect(noteSealed(running, proposal(4), { bytes: 0, names: 0 })).toBe(true)
  expect(lossOf(running, 'promoted', 500).kind).toBe('none')
  noteSealed(running, proposal(4), { bytes: 4096, names: 0 })
  expect(lossOf(running, 'promoted', 500)).toMatchObject({ kind: 'bounded', bytes_behind: 4096 })
})

test('what was sealed is on the replica that confirmed it and on the old primary, and on nobody who took over after them', () => {
  const left = lossOfRest({ bytes: 4096, names: 0 })
  const sealed = { ...flight(), sealedFor: replica }
  const kindWith = (heir: InstanceId) => lossOf({ ...sealed, heir }, 'promoted', 500).kind
  expect(kindWith(replica)).toBe('none')
  expect(kindWith(incident.instance)).toBe('none')
  expect(kindWith(instanceId('i-cde'))).toBe('unknown')
  expect(lossOf({ ...sealed, left, heir: instanceId('i-cde') }, 'promoted', 500)).toMatchObject({
    kind: 'unknown',
    bytes_behind: null,
  })
})

test('what a deadline left no time for is a number, not nothing', () => {
  const left = lossOfRest({ bytes: 4096, names: 1 })
  expect(lossOf({ ...flight(), sealedFor: replica, left }, 'promoted', 500)).toMatchObject({
    kind: 'bounded',
    bytes_behind: 4096,
    sentence:
      '4096 bytes of changes for which the deadline left no time, and what was in 1 names that could not be read; everything else is here',
  })
})

test('after a silent loss everything from the last safe moment on may be missing', () => {
  const wall = Date.UTC(2026, 0, 1)
  const lastWord = {
    heardAt: mono(9500),
    lagBytes: 12,
    safeThrough: { mono: mono(9200), wall: instant(wall) },
  }
  expect(lossOf({ ...flight(), lastWord }, 'promoted', 500)).toMatchObject({
    kind: 'bounded',
    state_through: '2026-01-01T00:00:00.000Z',
    at_most_ms: 9500 + 500 - 9200,
    bytes_behind: 12,
  })
})

test('what nobody can say is said to be unknown, never nothing', () => {
  expect(lossOf(flight(), 'promoted', 500).kind).toBe('unknown')
  expect(lossOf(flight(), 'relaunched', 500).kind).toBe('everything')
})

test('a move that failed tells how long nobody served, where that is known, and that nothing is lost', () => {
  const end = { now: mono(10_600), heartbeat: millis(500), wentOn: true, moved: false }
  const frozen = { ...flight(), quietFrom: mono(10_200) }
  expect(resultOf(frozen, 'failed', end)).toMatchObject({
    noPrimaryMillis: 400,
    noPrimaryFrom: 10_200,
    loss: { kind: 'none', sentence: 'nothing: the old primary went on with its own state' },
  })
  expect(resultOf(flight(), 'failed', end)).toMatchObject({ noPrimaryMillis: null, loss: { kind: 'none' } })
  // Nobody serves yet, so neither is known.
  expect(resultOf(frozen, 'failed', { ...end, wentOn: false })).toMatchObject({
    noPrimaryMillis: null,
    loss: null,
  })
  // Another instance has the epoch and could not start: what it will begin with is known.
  expect(resultOf(frozen, 'failed', { ...end, wentOn: false, moved: true })).toMatchObject({
    noPrimaryMillis: null,
    loss: { kind: 'unknown' },
  })
})

test('an instance that began with a snapshot has lost what was written after it', () => {
  const restored = { ...flight(), restoredThrough: instant(1_700_000_000_000) }
  expect(lossOf(restored, 'relaunched', 500)).toMatchObject({
    kind: 'bounded',
    state_through: '2023-11-14T22:13:20.000Z',
    at_most_ms: null,
  })
})
