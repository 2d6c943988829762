import { AppError } from '@understudy/shared/core/app-error'
import { minutes } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { ModelRow } from '../storage/database.ts'
import { activateConfigured, configuredVersion } from './configured-version.ts'

const row = (id: string, name: string, version: string, holds_name = 1) => ({ id, name, version, holds_name })
const rows = [
  row('model-a', 'price-instability', '1.0.0'),
  row('model-b', 'price-instability', '1.2.0'),
  row('model-c', 'price-instability', '2.0.0'),
  row('model-d', 'other', '3.0.0'),
  row('model-e', 'other', '4.0.0', 0),
]

describe('the version that MODEL_ACTIVE_VERSION names', () => {
  test.each([
    ['model-e', 'model-e'],
    ['price-instability@1.2.0', 'model-b'],
    ['price-instability:v2', 'model-c'],
    ['other 3.0.0', 'model-d'],
    ['1.0.0', 'model-a'],
    ['v2', 'model-c'],
    ['3.0', 'model-d'],
  ])('%s is %s', (setting, id) => {
    expect(configuredVersion(rows, setting).id).toBe(id)
  })

  test('what means several, none, or a version that was refused is an error that names the setting', () => {
    expect(() => configuredVersion(rows, 'v1')).toThrow('price-instability@1.0.0, price-instability@1.2.0')
    expect(() => configuredVersion(rows, '4.0.0')).toThrow('no such model')
    expect(() => configuredVersion(rows, 'other@1.0.0')).toThrow('no such model')
    expect(() => configuredVersion([], 'v1')).toThrow('no such model')
  })
})

describe('while its files cannot be had', () => {
  function start(ledger: { seq: number; alias: string; actor: string }[], tries: number) {
    const time = createVirtualTime()
    const stop = new AbortController()
    const activated: string[] = []
    let asked = 0
    const done = activateConfigured(
      'v2',
      {
        list: () => Promise.resolve(rows as unknown as ModelRow[]),
        ledger: () => Promise.resolve(ledger),
        activate(id) {
          asked += 1
          if (asked < tries)
            return Promise.reject(new AppError('unavailable', 's3://models is away', { retryable: true }))
          return Promise.resolve(activated.push(id))
        },
      },
      { log: pino({ level: 'silent' }), clock: time.clock, signal: stop.signal },
    )
    return { time, stop, done, activated, asked: () => asked }
  }

  test('it is tried every minute, and activated when they are there', async () => {
    const { time, done, activated } = start([], 3)
    await time.advance(minutes(1))
    expect(activated).toEqual([])
    await time.advance(minutes(1))
    await done
    expect(activated).toEqual(['model-c'])
  })

  test('what somebody activates meanwhile stays; what the coordinator does by itself is no reason to stop', async () => {
    const ledger = [{ seq: 1, alias: 'active', actor: 'ada' }]
    const { time, done, activated, asked } = start(ledger, 4)
    await time.advance(0)
    ledger.push({ seq: 2, alias: 'active', actor: 'coordinator' }, { seq: 3, alias: 'lab:i', actor: 'ada' })
    await time.advance(minutes(1))
    expect(asked()).toBe(2)
    ledger.push({ seq: 4, alias: 'active', actor: 'ada' })
    await time.advance(minutes(1))
    await done
    expect([asked(), activated]).toEqual([2, []])
  })

  test('an ending coordinator does not wait', async () => {
    const { time, stop, done } = start([], 9)
    await time.advance(0)
    stop.abort()
    await done
    expect(time.pending()).toBe(0)
  })
})
