import {
  type NotificationReceiver,
  notificationKinds,
  notificationStages,
} from '@understudy/shared/protocol/notifications'
import type { SettingView } from '@understudy/shared/protocol/settings'
import { expect, test } from 'vitest'
import {
  allOr,
  attemptWords,
  kinds,
  originOf,
  receiverMark,
  shownValue,
  stages,
  testSentence,
} from './setting-words.ts'

const setting = (changes: Partial<SettingView> = {}): SettingView => ({
  name: 'api_port',
  value: '8000',
  origin: 'default',
  secret: false,
  is_set: true,
  doc: 'Port',
  env: 'API_PORT',
  ...changes,
})

test('a value is shown as it is, a secret only as being there, and what is not set as that', () => {
  expect(shownValue(setting())).toBe('8000')
  expect(shownValue(setting({ secret: true, value: null }))).toBe('set, not shown')
  expect(shownValue(setting({ value: null, is_set: false }))).toBe('not set')
  expect(shownValue(setting({ value: '' }))).toBe('empty')
  expect(originOf(setting({ origin: 'environment' }))).toBe('environment, API_PORT')
})

test('a receiver is failing when the last word was a failure, whatever was sent before it', () => {
  const [early, late] = ['2026-11-21T02:00:00.000Z', '2026-11-21T03:00:00.000Z']
  const markOf = (last_sent_at: string | null, last_failed_at: string | null, waiting = 0) =>
    receiverMark({ last_sent_at, last_failed_at, waiting } as NotificationReceiver).word
  expect(markOf(early, late)).toBe('Failing')
  expect(markOf(late, early)).toBe('Delivered')
  expect(markOf(null, early)).toBe('Failing')
  expect(markOf(late, null, 2)).toBe('Sending')
  expect(markOf(null, null)).toBe('Nothing sent yet')
})

test('what came of an attempt and of a test is said with its reason', () => {
  expect(attemptWords({ attempts: 0, last_error: null, last_status: null })).toBe('not tried yet')
  expect(attemptWords({ attempts: 1, last_error: null, last_status: 204 })).toBe('1 attempt')
  expect(attemptWords({ attempts: 3, last_error: null, last_status: 503 })).toBe(
    '3 attempts, the last: status 503',
  )
  expect(testSentence({ receiver: 'pager', ok: true, status: 200, took_ms: 12, error: null })).toBe(
    'pager has taken the test message with status 200 after 12 ms.',
  )
  expect(
    testSentence({ receiver: 'pager', ok: false, status: null, took_ms: 9, error: 'ECONNREFUSED' }),
  ).toContain('not taken the test message: ECONNREFUSED')
})

test('who is told of everything is told of all, whatever else is named', () => {
  expect([Object.keys(stages), Object.keys(kinds)].map((names) => names.toSorted())).toEqual(
    [notificationStages, notificationKinds].map((names) => [...names].toSorted()),
  )
  expect([allOr(notificationStages, stages), allOr(['receipt', 'failure'], stages)]).toEqual([
    'all',
    'receipt, failure',
  ])
})
