import { afterAll, beforeAll, expect, test } from 'vitest'
import { instant, millis } from '../../shared/src/core/time.ts'
import { type Bench, startBench, until } from './bench.ts'
import type { Puppet } from './puppet.ts'

/** Signals over the real API, and what is said of the pool afterwards. */

let bench: Bench
let primary: Puppet
beforeAll(async () => {
  bench = await startBench()
  primary = await bench.primary('a', 'm5.large@us-east-1a')
}, 60_000)
afterAll(() => bench.close())

const PATH = '/api/pools/m5.large@us-east-1a/risk'
const signal = (notice_time?: string) =>
  bench.call('POST', '/api/agents/a/rebalance-recommendation', { instance_id: primary.instance, notice_time })

test('before any signal: both probabilities under their own names, and where they come from', async () => {
  const { status, body } = await bench.call('GET', PATH)
  expect(status).toBe(200)
  expect(body).toMatchObject({
    pool_id: 'm5.large@us-east-1a',
    p_instability_12h: null,
    interruption: { hours: 12, own: { interruptions: 0 }, multiplier: 1 },
    rebalance: { probability: 0.4, level: null, followed: 0, not_followed: 0 },
    signals: [],
  })
  expect(body.p_interruption_12h).toBe(body.interruption.probability)
  expect(body.interruption.sources[0].source).toBe('spot_advisor')
  const { body: two } = await bench.call('GET', `${PATH}?hours=2&instance_id=${primary.instance}`)
  expect(two.interruption.probability).toBeLessThan(body.p_interruption_12h)
  expect(two.p_interruption_12h).toBeCloseTo(body.p_interruption_12h, 9)
})

test('the same recommendation over several paths is one line; a notice after it is what followed', async () => {
  const at = new Date(Date.now() - 5000).toISOString()
  const { body: first } = await signal(at)
  expect((await signal(at)).body.incident_id).toBe(first.incident_id)
  expect((await signal()).body.incident_id).toBe(first.incident_id)
  expect((await bench.call('GET', PATH)).body.signals).toMatchObject([{ outcome: 'open', action_at: at }])
  primary.report({
    kind: 'notice',
    signal: 'termination-notice',
    noticeId: 'n1',
    action: 'terminate',
    time: instant(Date.now() + 120_000),
    ageMillis: millis(0),
  })
  await until(async () => (await bench.call('GET', PATH)).body.signals[0].outcome !== 'open')
  const { body } = await bench.call('GET', PATH)
  expect(body.signals).toMatchObject([
    { outcome: 'followed', incident_id: first.incident_id, instance_id: primary.instance },
  ])
  expect(body.signals[0].lead_seconds).toBeGreaterThanOrEqual(0)
})

test('a pool that is none, an instance elsewhere and a week too long are refused', async () => {
  expect((await bench.call('GET', '/api/pools/m5.large/risk')).status).toBe(400)
  expect((await bench.call('GET', `${PATH}?hours=0`)).status).toBe(400)
  expect((await bench.call('GET', `${PATH}?hours=169`)).status).toBe(400)
  expect((await bench.call('GET', `${PATH}?instance_id=i-0123456789abcdef0`)).status).toBe(404)
  const elsewhere = `/api/pools/c5.large@us-east-1a/risk?instance_id=${primary.instance}`
  const { status, body } = await bench.call('GET', elsewhere)
  expect([status, body.hint]).toEqual([404, 'It is in m5.large@us-east-1a.'])
})
