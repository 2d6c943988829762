import { describe, expect, test } from 'vitest'
import { comparisonOf, figuresOf, type PastMove, refusalOf } from './drill-report.ts'

const past = (no_primary_ms: number | null, outcome = 'promoted', detected_at = 1000): PastMove => ({
  ...{ outcome, detected_at, no_primary_ms },
  failover_time_ms: no_primary_ms === null ? null : no_primary_ms * 2,
})

describe('figures of past moves', () => {
  test('median and worst are of those that succeeded; the failed are counted', () => {
    expect(
      figuresOf([past(300), past(100, 'promoted', 9000), past(200), past(9999, 'failed'), past(null)]),
    ).toEqual({
      count: 5,
      failed: 1,
      last_at: '1970-01-01T00:00:09.000Z',
      detect_to_promoted_ms: { median: 400, worst: 600 },
      no_primary_ms: { median: 200, worst: 300 },
    })
    expect(figuresOf([past(100), past(200)]).no_primary_ms).toEqual({ median: 150, worst: 200 })
    expect(figuresOf([])).toMatchObject({ count: 0, last_at: null, no_primary_ms: null })
  })
})

test('a drill is compared with drills and with incidents, apart', () => {
  const before = { drills: figuresOf([past(100), past(200)]), incidents: figuresOf([past(900)]) }
  expect(comparisonOf({ no_primary_ms: 250 }, before)).toBe(
    'nobody served for 250 ms: longer than each of the last 2 drills (median 150 ms, worst 200 ms), no longer than most of the last 1 incidents (median 900 ms, worst 900 ms)',
  )
  expect(comparisonOf({ no_primary_ms: 160 }, before)).toContain('longer than most of the last 2 drills')
  expect(comparisonOf({ no_primary_ms: 1 }, { drills: figuresOf([]), incidents: figuresOf([]) })).toBe(
    'nobody served for 1 ms: no drills before to compare with, no incidents before to compare with',
  )
  expect(comparisonOf({ no_primary_ms: null }, before)).toBe('there is no time without a primary to compare')
})

test('a drill needs a ready replica, and nothing else under way', () => {
  const agent = { id: 'a', state: 'healthy', reason: 'well', replicas: [{ id: 'r', status: 'ready' }] }
  expect(refusalOf(agent)).toBeUndefined()
  expect(refusalOf({ ...agent, state: 'at-risk', reason: 'AWS recommends to leave' })).toEqual({
    code: 'busy',
    why: 'a is at-risk: AWS recommends to leave',
  })
  expect(refusalOf({ ...agent, state: 'failed', reason: 'the workload is frozen' })).toEqual({
    code: 'not_ready',
    why: 'a is failed: the workload is frozen',
  })
  expect(refusalOf({ ...agent, replicas: [{ id: 'r', status: 'syncing' }] })).toEqual({
    code: 'not_ready',
    why: 'no replica of a is ready: r is syncing',
  })
  expect(refusalOf({ ...agent, replicas: [] })?.why).toBe('no replica of a is ready: it has none')
})
