import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { seededRandom } from '@understudy/shared/core/random'
import { createSerial } from '@understudy/shared/core/serial'
import { plus, seconds, systemClock } from '@understudy/shared/core/time'
import { priceSubmissionSchema } from '@understudy/shared/protocol/market'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { defaultItems, EC2, IMDS, imdsHandlers, pageOf, refusalOf, roleDocument } from '../aws/testing.ts'
import type { AgentConfig } from '../config/options.ts'
import { createImdsClient } from '../imds/imds-client.ts'
import { openMarket } from './market.ts'
import { openPriceQueue } from './price-queue.ts'

const server = setupServer()
const cleanups: (() => Promise<void> | void)[] = []
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  server.resetHandlers()
})
afterAll(() => server.close())

interface Sent {
  readonly credential: string | null
  readonly rows: { pool_id: string; instance_id: string; role: string }[]
}

/** A metadata service, an EC2 and a coordinator, and a directory that travels from one instance to the next. */
function world() {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-market-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  const sent: Sent[] = []
  const state = { accepts: true, ec2: () => HttpResponse.xml(pageOf([{ price: '0.0416' }])) as Response }
  const items = {
    ...defaultItems,
    'meta-data/iam/security-credentials/agent-role': roleDocument({ Expiration: '2999-01-01T00:00:00Z' }),
  }
  server.use(
    ...imdsHandlers(items),
    http.post(EC2, () => state.ec2()),
    http.post('http://coordinator.test/api/agents/orders/pricing', async ({ request }) => {
      if (!state.accepts) return new HttpResponse(null, { status: 503 })
      const body = priceSubmissionSchema.parse(await request.json())
      sent.push({ credential: request.headers.get('authorization'), rows: body.samples as Sent['rows'] })
      const { length } = body.samples
      return HttpResponse.json({
        submission_id: body.submission_id,
        accepted: length,
        duplicates: 0,
        refused: 0,
        errors: [],
      })
    }),
  )
  return { directory, sent, state }
}

function instance({ directory }: ReturnType<typeof world>, name: string, role: string) {
  const log = pino({ level: 'silent' })
  const now = { role, notice: false, connected: true }
  const record = openPriceQueue({
    path: join(directory, 'prices.jsonl'),
    isOpen: () => now.role === 'primary',
    write: createSerial(),
    clock: systemClock,
    log,
  })
  if (role === 'primary') record.reload()
  const market = openMarket({
    config: {
      coordinator_url: 'http://coordinator.test/',
      price_sampling: true,
      price_interval: 300,
      alternative_types: [],
    } as unknown as AgentConfig,
    path: join(directory, `own-${name}.jsonl`),
    record,
    imds: createImdsClient(IMDS, systemClock, seededRandom(1)),
    agent: agentId('orders'),
    self: instanceId(name),
    credential: `credential of ${name}`,
    role: () => now.role,
    hasNotice: () => now.notice,
    isConnected: () => now.connected,
    clock: systemClock,
    random: seededRandom(1),
    log,
  })
  const stop = new AbortController()
  const running = Promise.all(market.services.map((service) => service.run(stop.signal)))
  const end = async () => {
    stop.abort()
    await running
  }
  cleanups.push(end)
  const become = (next: string) => {
    now.role = next
    if (next === 'primary') record.reload()
    market.changed()
  }
  return { market, now, become, end }
}

test('a primary and a replica sample and submit, each as what it is', async () => {
  const here = world()
  const first = instance(here, 'i-first1', 'primary')
  const second = instance(here, 'i-second2', 'replica')
  await expect.poll(() => here.sent.length).toBe(2)
  expect(
    here.sent.flatMap(({ rows }) => rows.map(({ instance_id, role }) => `${instance_id} ${role}`)).sort(),
  ).toEqual(['i-first1 primary', 'i-second2 replica'])
  expect(here.sent.map(({ credential }) => credential).sort()).toEqual([
    'Bearer credential of i-first1',
    'Bearer credential of i-second2',
  ])
  await expect.poll(() => second.market.status.queued).toBe(0)
  expect(first.market.status).toMatchObject({
    sampling_as: 'primary',
    pools: 1,
    dropped: 0,
    refused: 0,
    last_error: null,
  })
  expect(first.market.degraded).toBeUndefined()
})

test('who is promoted sends what the one before it had left, in its name', async () => {
  const here = world()
  here.state.accepts = false
  const first = instance(here, 'i-first1', 'primary')
  await expect.poll(() => first.market.status.queued).toBe(1)
  first.now.notice = true
  first.market.noticed(plus(systemClock.mono(), seconds(120)))
  await expect.poll(() => first.market.status.last_error).toContain('503')
  expect(first.market.status.sampling_as).toBeNull()
  await first.end()
  const second = instance(here, 'i-second2', 'replica')
  await expect.poll(() => second.market.status.queued).toBe(1)
  second.become('primary')
  // The predecessor's, its own as a replica, and one as the new primary.
  await expect.poll(() => second.market.status.queued).toBe(3)
  here.state.accepts = true
  second.market.noticed(plus(systemClock.mono(), seconds(120)))
  await expect.poll(() => second.market.status.queued).toBe(0)
  expect(
    here.sent.flatMap(({ rows }) => rows.map(({ instance_id, role }) => `${instance_id} ${role}`)).sort(),
  ).toEqual(['i-first1 primary', 'i-second2 primary', 'i-second2 replica'])
  await second.end()
  expect(readFileSync(join(here.directory, 'prices.jsonl'), 'utf8')).not.toMatch(/"role":"primary"\}/)
})

test('while the coordinator is away nothing is sent, and once it is back everything is, with the newest credential', async () => {
  const here = world()
  const { market, now } = instance(here, 'i-first1', 'primary')
  now.connected = false
  await expect.poll(() => market.status.queued).toBe(1)
  market.useCredential('another')
  now.connected = true
  market.connected()
  await expect.poll(() => here.sent.length).toBe(1)
  expect(here.sent[0]?.credential).toBe('Bearer another')
})

test('without permission it is degraded and says which action is missing; the rest goes on', async () => {
  const here = world()
  here.state.ec2 = () => refusalOf('UnauthorizedOperation', 403)
  const { market } = instance(here, 'i-first1', 'primary')
  await expect
    .poll(() => market.degraded)
    .toMatchObject({
      code: 'prices_not_sampled',
      message: expect.stringContaining('the role agent-role may not call ec2:DescribeSpotPriceHistory'),
      hint: expect.stringContaining('ec2:DescribeSpotPriceHistory'),
    })
  expect(market.status).toMatchObject({ last_sample_at: null, queued: 0 })
})
