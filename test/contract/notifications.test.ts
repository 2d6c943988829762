import { createHmac } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { notificationPayloadSchema } from '../../shared/src/protocol/notifications.ts'
import { type Bench, startBench, until } from './bench.ts'

const KEY = Buffer.alloc(32, 7)
const SECRET = `whsec_${KEY.toString('base64')}`
const TOKEN = 'xoxb-not-to-be-seen'

let bench: Bench
let url = ''
let heard: { path: string; headers: IncomingHttpHeaders; body: string }[] = []
/** What is answered to the next requests of a path. */
let answers: Record<string, number[]> = {}
let server: ReturnType<typeof createServer>
beforeEach(async () => {
  heard = []
  answers = {}
  server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    const path = request.url ?? ''
    const status = answers[path]?.shift() ?? 200
    if (status === 200) heard.push({ path, headers: request.headers, body })
    response.writeHead(status).end(JSON.stringify({ ok: true, ts: `17.${heard.length}` }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  await bench.close()
  server.closeAllConnections()
  server.close()
})

const startTelling = async () => {
  bench = await startBench({
    receivers: {
      text: `
receivers:
  - { name: ops, kind: webhook, url: '${url}/secret-path', allow_local: true, secrets: [{ env: KEY }] }
  - { name: team, kind: slack, url: '${url}/slack', allow_local: true, token: { env: TOKEN }, channel: C1 }
  - { name: others, kind: webhook, format: slack, url: '${url}/others', allow_local: true, agents: [b-*] }
`,
      env: { KEY: SECRET, TOKEN },
    },
  })
}
const to = (path: string) => heard.filter((request) => request.path === path)

test('a move is told when it begins and when it ends: signed to a webhook, in one thread to Slack', async () => {
  await startTelling()
  // A receiver in trouble is told all the same, and in order.
  answers = { '/secret-path': [503] }
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  await bench.call('POST', `/api/agents/a/replicas/${id}/promote`, {})
  await until(() => to('/secret-path').length === 2 && to('/slack').length === 2)

  const [incident] = (await bench.call('GET', '/api/incidents')).body.items
  for (const { headers, body } of to('/secret-path')) {
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
    expect(headers['webhook-signature']).toBe(
      `v1,${createHmac('sha256', KEY).update(signed).digest('base64')}`,
    )
  }
  const payloads = to('/secret-path').map(({ body }) => notificationPayloadSchema.parse(JSON.parse(body)))
  expect(payloads).toMatchObject([
    // It has the incident as it was when it was written down: a quick move may be over by then.
    {
      type: 'incident.receipt',
      data: { incident: { id: incident.id, outcome: expect.stringMatching(/^(running|promoted)$/) } },
    },
    {
      type: 'incident.outcome',
      data: {
        text: expect.stringMatching(/^a moved to .* in .*Lost: nothing: /),
        incident: { id: incident.id, outcome: 'promoted', new_instance_id: puppet.instance },
      },
    },
  ])
  const slack = to('/slack').map(({ body }) => JSON.parse(body))
  expect(slack.map(({ thread_ts: thread }) => typeof thread)).toEqual(['undefined', 'string'])
  expect(to('/slack')[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`)
  expect(to('/others')).toEqual([])

  await until(async () =>
    (await bench.call('GET', '/api/notifications/receivers')).body.items.every(
      ({ waiting }: { waiting: number }) => waiting === 0,
    ),
  )
  const { body: deliveries } = await bench.call(
    'GET',
    `/api/notifications/deliveries?incident_id=${incident.id}&receiver=ops`,
  )
  expect(deliveries).toMatchObject({
    items: [
      { stage: 'outcome', status: 'sent', attempts: 1 },
      { stage: 'receipt', status: 'sent', attempts: 2 },
    ],
    next: null,
  })
  expect((await bench.call('GET', '/metrics')).body).toContain(
    'understudy_notifications_total{receiver="ops",result="failed"} 1',
  )
})

test('receivers are listed without secrets; only an admin may send a test, and it is in the audit log', async () => {
  await startTelling()
  const viewer = { authorization: `Bearer ${await bench.operatorToken('viewer')}` }
  const operator = { authorization: `Bearer ${await bench.operatorToken('operator')}` }
  const listed = await bench.call('GET', '/api/notifications/receivers', undefined, viewer)
  expect(listed.body.items).toMatchObject([
    { name: 'ops', origin: url, secrets: 1, threads: false, waiting: 0, last_sent_at: null },
    { name: 'team', kind: 'slack', threads: true },
    { name: 'others', format: 'slack', agents: ['b-*'] },
  ])
  for (const secret of [SECRET, TOKEN, 'secret-path', 'whsec'])
    expect(JSON.stringify(listed)).not.toContain(secret)
  expect(
    (await bench.call('GET', '/api/notifications/receivers', undefined, { authorization: '' })).status,
  ).toBe(401)

  const reload = '/api/notifications/receivers/reload'
  expect((await bench.call('POST', reload, {}, operator)).status).toBe(403)
  const reloaded = await bench.call('POST', reload, {})
  expect(reloaded).toMatchObject({ status: 200, body: { problem: null } })
  expect(reloaded.body.items).toHaveLength(3)

  const path = '/api/notifications/receivers/ops/test'
  expect((await bench.call('POST', path, {}, operator)).status).toBe(403)
  expect((await bench.call('POST', '/api/notifications/receivers/none/test', {})).status).toBe(404)
  answers = { '/secret-path': [200, 410] }
  expect((await bench.call('POST', path, {})).body).toMatchObject({ receiver: 'ops', ok: true, status: 200 })
  expect((await bench.call('POST', path, {})).body).toMatchObject({ ok: false, status: 410 })
  expect(JSON.parse(to('/secret-path')[0]?.body ?? '')).toMatchObject({ type: 'test' })
  const audited = await bench.db
    .selectFrom('audit_log')
    .select(['actor', 'object', 'after'])
    .where('action', '=', 'notification.test')
    .execute()
  expect(audited).toHaveLength(2)
  expect(audited[0]).toMatchObject({ actor: 'test', object: 'ops', after: '{"ok":true,"status":200}' })
})
