import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseTimestamp } from './timestamp.ts'

test.each([
  ['2025-11-20T10:05:00Z', '2025-11-20T10:05:00.000Z'],
  ['2025-11-20t10:05:00.1239z', '2025-11-20T10:05:00.123Z'],
  ['2022-05-31T18:20:41+00:00', '2022-05-31T18:20:41.000Z'],
  ['2025-11-20 15:35:00+0530', '2025-11-20T10:05:00.000Z'],
  ['2025-11-19T23:05:00-11:00', '2025-11-20T10:05:00.000Z'],
  ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
])('%s is %s', (text, utc) => {
  expect(parseTimestamp(text)).toBe(Date.parse(utc))
})

test('the two passes of a clock through the hour that is set back are two times', () => {
  const first = parseTimestamp('2026-10-25T02:30:00+02:00')
  const second = parseTimestamp('2026-10-25T02:30:00+01:00')
  expect(first).toBe(Date.parse('2026-10-25T00:30:00Z'))
  expect(second).toBe(Date.parse('2026-10-25T01:30:00Z'))
})

test('a time without an offset is refused, since in the hour that is set back it is two times', () => {
  expect(parseTimestamp('2026-10-25T02:30:00')).toEqual({
    code: 'time_without_zone',
    reason:
      '"2026-10-25T02:30:00" has no UTC offset, so it could be any of several times; end it with Z or +05:30',
  })
})

test('a leap second is refused by name', () => {
  expect(parseTimestamp('2016-12-31T23:59:60Z')).toEqual({
    code: 'time_malformed',
    reason:
      '"2016-12-31T23:59:60Z" is a leap second, which UTC milliseconds cannot hold; give 23:59:59 or 00:00:00',
  })
})

test.each([
  ['2025-02-29T00:00:00Z', 'is not on the calendar or the clock'],
  ['2025-13-01T00:00:00Z', 'is not on the calendar or the clock'],
  ['2025-00-10T00:00:00Z', 'is not on the calendar or the clock'],
  ['2025-11-20T24:00:00Z', 'is not on the calendar or the clock'],
  ['2025-11-20T10:61:00Z', 'is not on the calendar or the clock'],
  ['2025-11-20T10:05:00+19:00', 'has a UTC offset that no place on Earth has'],
  ['2025-11-20T10:05:00+05:77', 'has a UTC offset that no place on Earth has'],
  ['2025-11-20', 'is not a time such as 2025-11-20T10:05:00Z'],
  ['Thu, 20 Nov 2025 10:05:00 GMT', 'is not a time such as 2025-11-20T10:05:00Z'],
  ['1763633100', 'is not a time such as 2025-11-20T10:05:00Z'],
  ['', 'is not a time such as 2025-11-20T10:05:00Z'],
])('%s %s', (text, why) => {
  expect(parseTimestamp(text)).toEqual({ code: 'time_malformed', reason: `"${text}" ${why}` })
})

test('every time that a machine writes is read as it is', () => {
  const times = fc.date({
    min: new Date('2009-01-01T00:00:00Z'),
    max: new Date('2100-01-01T00:00:00Z'),
    noInvalidDate: true,
  })
  fc.assert(
    fc.property(times, (time) => {
      expect(parseTimestamp(time.toISOString())).toBe(time.getTime())
    }),
  )
})

test('whatever text comes, it is a whole number of milliseconds or a refusal', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const parsed = parseTimestamp(text)
      expect(typeof parsed === 'number' ? Number.isInteger(parsed) : parsed.reason.length > 10).toBe(true)
    }),
  )
})
