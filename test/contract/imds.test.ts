import { seededRandom } from '@understudy/shared/core/random'
import { type Instant, instant, millis, seconds, systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { createImdsClient } from '../../agent/src/imds/imds-client.ts'
import { createNoticeWatcher, type WatcherMemory } from '../../agent/src/imds/notice-watcher.ts'
import {
  type ImdsSimulator,
  startImdsSimulator,
} from '../../coordinator/src/cloud/simulated/imds-simulator.ts'
import { until } from './bench.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function simulator(): Promise<ImdsSimulator> {
  const started = await startImdsSimulator({
    clock: systemClock,
    items: { 'meta-data/instance-id': 'i-abc' },
  })
  cleanups.push(() => started.close())
  return started
}

/** The agent's watcher on the simulator, and what it says, in order. */
function watch(
  imds: ImdsSimulator,
  memory: WatcherMemory = { handledUpTo: undefined, rebalanceAt: undefined },
) {
  const said: string[] = []
  let remembered = memory
  const stop = new AbortController()
  const watcher = createNoticeWatcher({
    imds: createImdsClient(imds.endpoint, systemClock, seededRandom(1)),
    clock: systemClock,
    interval: millis(20),
    memory,
    log: pino({ level: 'silent' }),
    listener: {
      onInterruption: (notice, change) => said.push(`${change} ${notice.action}`),
      onWithdrawn: () => said.push('withdrawn'),
      onRebalance: () => said.push('rebalance'),
      onMaintenance: ({ eventId, state }) => said.push(`maintenance ${eventId} ${state}`),
      onTargetLifecycle: (state) => said.push(`lifecycle ${state}`),
      remember: (next) => {
        remembered = next
      },
    },
  })
  const running = watcher.run(stop.signal)
  cleanups.push(async () => {
    stop.abort()
    await running
  })
  return { said, watcher, memory: () => remembered }
}

const inSeconds = (value: number): Instant => instant(Date.now() + value * 1000)

test('the simulator speaks the wire as it was captured', async () => {
  const imds = await simulator()
  const url = `${imds.endpoint}/latest`
  const put = (headers: Record<string, string>, path = 'api/token') =>
    fetch(`${url}/${path}`, { method: 'PUT', headers })
  const ttl = 'x-aws-ec2-metadata-token-ttl-seconds'
  expect((await put({})).status).toBe(400)
  expect((await put({ [ttl]: '0' })).status).toBe(400)
  expect((await put({ [ttl]: '21601' })).status).toBe(400)
  expect((await put({ [ttl]: '60', 'x-forwarded-for': '1.2.3.4' })).status).toBe(403)
  expect(
    (await fetch(`${imds.endpoint}/2021-03-23/api/token`, { method: 'PUT', headers: { [ttl]: '60' } }))
      .status,
  ).toBe(403)
  const got = await fetch(`${url}/api/token`)
  expect([got.status, got.headers.get('allow')]).toEqual([405, 'OPTIONS, PUT'])
  expect((await fetch(`${url}/meta-data/instance-id`)).status).toBe(401)
  const token = await (await put({ [ttl]: '60' })).text()
  const read = await fetch(`${url}/meta-data/instance-id`, { headers: { 'x-aws-ec2-metadata-token': token } })
  expect(await read.text()).toBe('i-abc')
  expect(read.headers.get('server')).toBe('EC2ws')
  expect(read.headers.get('content-type')).toBe('text/plain')
  expect(Number(read.headers.get(ttl))).toBeLessThanOrEqual(60)
})

test('a notice is told once, though it is read again and again and its time moves', async () => {
  const imds = await simulator()
  const { said } = watch(imds)
  imds.announceInterruption('terminate', inSeconds(120))
  await until(() => said.length === 1)
  await new Promise((resolve) => setTimeout(resolve, 100))
  imds.announceInterruption('terminate', inSeconds(115))
  await until(() => said.length === 2)
  expect(said).toEqual(['new terminate', 'moved terminate'])
  imds.withdrawInterruption()
  await until(() => said.length === 3)
  expect(said.at(-1)).toBe('withdrawn')
})

test('a past time is acted on once, and not again by a restarted agent', async () => {
  const imds = await simulator()
  imds.announceInterruption('hibernate', inSeconds(-30))
  const first = watch(imds)
  await until(() => first.said.length === 1)
  expect(first.said).toEqual(['new hibernate'])
  const second = watch(imds, first.memory())
  await new Promise((resolve) => setTimeout(resolve, 150))
  expect(second.said).toEqual([])
})

test('rebalance, maintenance and the target of an Auto Scaling group are told once each', async () => {
  const imds = await simulator()
  imds.recommendRebalance(inSeconds(0))
  imds.set('meta-data/autoscaling/target-lifecycle-state', 'Terminated')
  imds.set(
    'meta-data/events/maintenance/scheduled',
    JSON.stringify([
      { EventId: 'e-1', Code: 'instance-stop', State: 'active', NotBefore: '21 Jan 2027 09:00:43 GMT' },
    ]),
  )
  const { said } = watch(imds)
  await until(() => said.length === 3)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(said.sort()).toEqual(['lifecycle Terminated', 'maintenance e-1 active', 'rebalance'])
})

test.each([
  ['tokens that are forgotten', (imds: ImdsSimulator) => imds.forgetTokens()],
  ['a few 503', (imds: ImdsSimulator) => imds.fail({ kind: 'status', status: 503, times: 3 })],
  ['an answer that is cut', (imds: ImdsSimulator) => imds.fail({ kind: 'cut', path: 'spot', times: 1 })],
  ['a slow answer', (imds: ImdsSimulator) => imds.fail({ kind: 'slow', delay: seconds(0.3), times: 2 })],
  ['an odd content type', (imds: ImdsSimulator) => imds.fail({ kind: 'content-type', times: 50 })],
])('%s does not keep a notice from being seen', async (_, spoil) => {
  const imds = await simulator()
  const { said } = watch(imds)
  await until(() => imds.requests.length > 3)
  spoil(imds)
  imds.announceInterruption('terminate', inSeconds(120))
  await until(() => said.includes('new terminate'))
})

test('trouble with the service shows as degraded, and goes away with it', async () => {
  const imds = await simulator()
  const { watcher, said } = watch(imds)
  await until(() => imds.requests.length > 3)
  imds.fail({ kind: 'status', status: 403 })
  await until(() => watcher.degraded?.code === 'imds_forbidden')
  expect(watcher.degraded?.hint).toContain('--http-endpoint enabled')
  imds.clearFaults()
  await until(() => watcher.degraded === undefined)
  expect(said).toEqual([])
})

test('an answer that is no notice does not withdraw the one that is open', async () => {
  const imds = await simulator()
  const { said } = watch(imds)
  imds.announceInterruption('terminate', inSeconds(120))
  await until(() => said.length === 1)
  imds.set('meta-data/spot/instance-action', '<html>busy</html>')
  const before = imds.requests.length
  await until(() => imds.requests.slice(before).filter(({ path }) => path.includes('spot')).length > 4)
  expect(said).toEqual(['new terminate'])
})

test('a body that is no notice is none', async () => {
  const imds = await simulator()
  imds.set('meta-data/spot/instance-action', '{"action":"none"}')
  const { said, watcher } = watch(imds)
  await until(() => imds.requests.filter(({ path }) => path.includes('spot')).length > 3)
  await until(() => watcher.degraded === undefined)
  expect(said).toEqual([])
})
