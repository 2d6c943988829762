import { createHmac, timingSafeEqual } from 'node:crypto'
import { seededRandom } from '@understudy/shared/core/random'
import { instant, millis, minutes, seconds } from '@understudy/shared/core/time'
import type { IncidentView } from '@understudy/shared/protocol/incidents'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attemptOf, outgoingOf } from './bodies.ts'
import { guardedLookup, isLocalAddress, isLocalHost } from './local-addresses.ts'
import { incidentMessages } from './messages.ts'
import { parseReceivers } from './receivers-file.ts'
import { type Attempt, GIVEN_UP_AFTER, nextAttempt, parseRetryAfter } from './retries.ts'
import { parseSecret, signatureHeaders } from './signing.ts'
import { stagesOf } from './stages.ts'
import { parseTemplate, renderTemplate } from './template.ts'
import { anIncident, aReceiver, SECRET } from './testing.ts'

describe('templates', () => {
  test('values are put where their placeholders are, and nothing is read in them', () => {
    const { template, problems } = parseTemplate('{{ a }}-{{b}} {x} {{a}}', ['a', 'b'])
    expect(problems).toEqual([])
    expect(renderTemplate(template, { a: '{{b}}', b: '$&' })).toBe('{{b}}-$& {x} {{b}}')
    expect(renderTemplate(template, { a: '<', b: '' }, (value) => `[${value}]`)).toBe('[<]-[] {x} [<]')
  })

  test('what is no placeholder is a mistake, with its place', () => {
    const { problems } = parseTemplate('{{agnet}} {{agent name}} }} {{', ['agent'])
    expect(problems).toEqual([
      { at: 0, message: 'unknown placeholder {{agnet}}, did you mean "agent"?' },
      { at: 10, message: '"{{agent name}} }} {{" is no placeholder such as {{agent}}' },
    ])
  })

  test('text without braces comes out as it went in', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !/\{\{|\}\}/.test(text)),
        (text) => {
          const { template, problems } = parseTemplate(text, [])
          expect([renderTemplate(template, {}), problems]).toEqual([text, []])
        },
      ),
    )
  })
})

describe('signing', () => {
  test('is that of Standard Webhooks', () => {
    // The example of the specification's own libraries.
    const secret = parseSecret('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw') as Uint8Array
    const at = instant(1_614_265_330_999)
    expect(signatureHeaders('msg_p5jXN8AQM9LWM0D4loKWxJek', at, '{"test": 2432232314}', [secret])).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': VECTOR,
    })
  })

  test('with two secrets each of them finds its signature, and a third finds none', () => {
    const key = fc.uint8Array({ minLength: 24, maxLength: 64 })
    fc.assert(
      fc.property(key, key, key, fc.string(), (one, two, other, body) => {
        fc.pre(Buffer.compare(one, other) !== 0 && Buffer.compare(two, other) !== 0)
        const headers = signatureHeaders('id', instant(5000), body, [one, two])
        const accepts = (secret: Uint8Array) => {
          const own = createHmac('sha256', secret).update(`id.5.${body}`).digest()
          return (headers['webhook-signature'] ?? '')
            .split(' ')
            .some((part) => timingSafeEqual(Buffer.from(part.slice(3), 'base64'), own))
        }
        expect([accepts(one), accepts(two), accepts(other)]).toEqual([true, true, false])
      }),
    )
  })

  test.each(['whsec_', 'whsec_c2hvcnQ=', 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', `whsec_${'A'.repeat(200)}`])(
    'a secret that is none is refused: %s',
    (text) => expect(parseSecret(text)).toBeUndefined(),
  )
})

const VECTOR = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='

describe('retries', () => {
  const away: Attempt = { ok: false, status: null, error: 'x', retryAfter: null, ref: null }
  const when = (attempts: number, attempt: Partial<Attempt> = {}, random = () => 0.5) =>
    nextAttempt({ ...away, ...attempt }, { attempts, created: instant(0), now: instant(0) }, random)

  test('waits grow, never to nothing and never beyond a quarter of an hour', () => {
    const random = seededRandom(1)
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), (attempts) => {
        const at = when(attempts, {}, random) ?? 0
        expect(at).toBeGreaterThanOrEqual(Math.min(1000 * 2 ** (attempts - 1), minutes(7.5)))
        expect(at).toBeLessThanOrEqual(minutes(15))
      }),
    )
  })

  test('what a receiver asks for is kept, up to an hour', () => {
    expect(when(1, { status: 429, retryAfter: seconds(120) })).toBe(120_000)
    expect(when(1, { status: 503, retryAfter: seconds(999_999) })).toBe(3_600_000)
    expect(when(9, { retryAfter: millis(1) })).toBeGreaterThan(100_000)
  })

  test('after a day nobody is told any more; 410 and success end it at once', () => {
    const late = { attempts: 300, created: instant(0), now: instant(GIVEN_UP_AFTER - 1000) }
    expect(nextAttempt(away, late, () => 0)).toBeUndefined()
    expect(when(1, { status: 410 })).toBeUndefined()
    expect(when(1, { ok: true, status: 200 })).toBeUndefined()
    expect(when(1, { status: 404 })).toBeDefined()
  })

  test('Retry-After is seconds or a date', () => {
    const now = instant(Date.UTC(2026, 0, 1))
    expect(parseRetryAfter('7', now)).toBe(7000)
    expect(parseRetryAfter('Thu, 01 Jan 2026 00:00:30 GMT', now)).toBe(30_000)
    expect(parseRetryAfter('Wed, 31 Dec 2025 00:00:30 GMT', now)).toBe(0)
    for (const header of [undefined, '', '-1', 'soon', '1e9', '2026-01-01'])
      expect(parseRetryAfter(header, now)).toBeNull()
  })
})

describe('stages', () => {
  const stages = (incident: Partial<IncidentView>) => stagesOf(anIncident(incident)).map(({ stage }) => stage)
  const step = (name: string, ok = true) => ({ ...anIncident({}).steps[0], step: name, ok }) as never

  test('an incident is told when it is noticed, when it goes badly, and when it ends', () => {
    expect(stages({})).toEqual(['receipt'])
    expect(stages({ steps: [step('notice-received'), step('no-replica-ready')] })).toEqual([
      'receipt',
      'trouble',
    ])
    expect(stages({ steps: [step('workload-started', false)] })).toEqual(['receipt', 'trouble'])
    const ended = { closed_at: '2026-01-01T00:00:02.000Z' }
    expect(stages({ ...ended, outcome: 'promoted', steps: [step('no-replica-ready')] })).toEqual([
      'receipt',
      'outcome',
    ])
    expect(stages({ ...ended, outcome: 'no-action' })).toEqual(['receipt', 'outcome'])
    expect(stages({ ...ended, outcome: 'failed' })).toEqual(['receipt', 'failure'])
    expect(stages({ ...ended, outcome: 'relaunched' })).toEqual(['receipt', 'failure'])
  })
})

describe('messages', () => {
  const at = instant(Date.UTC(2026, 0, 1))
  const said = (receiver: Parameters<typeof aReceiver>[0], incident: Partial<IncidentView> = {}) =>
    incidentMessages([aReceiver(receiver)], anIncident(incident), 'https://u.example', at)

  test('one message for each stage, with an id that does not depend on the receiver', () => {
    const [first] = said({ name: 'a' })
    expect(first).toMatchObject({
      id: '11111111-1111-4111-8111-111111111111_receipt',
      thread: '11111111-1111-4111-8111-111111111111',
      text: 'orders-db: interruption notice on i-0aaa (m5.large@us-east-1a), AWS acts in 120 s. https://u.example/#/incidents/11111111-1111-4111-8111-111111111111',
    })
    expect(JSON.parse(first?.payload ?? '')).toMatchObject({
      type: 'incident.receipt',
      timestamp: '2026-01-01T00:00:00.000Z',
      data: { text: first?.text, incident: { trigger: 'notice', outcome: 'running' } },
    })
    expect(JSON.parse(first?.payload ?? '').data.incident.steps).toBeUndefined()
  })

  test('filters by stage, kind and agent', () => {
    expect(said({ stages: ['outcome'] })).toEqual([])
    expect(said({ kinds: ['drill'] })).toEqual([])
    expect(said({ agents: ['web-*', 'orders'] })).toEqual([])
    expect(said({ agents: ['web', '*-db'] })).toHaveLength(1)
    expect(said({ agents: ['orders.db'] }, { agent_id: 'ordersxdb' })).toEqual([])
  })

  test('what is said to Slack cannot begin a link or call somebody', () => {
    const [message] = said(
      { target: { kind: 'slack', token: 't'.repeat(20), channel: 'C1' } },
      {
        agent_name: '<!channel> & co',
      },
    )
    expect(message?.text).toMatch(/^&lt;!channel&gt; &amp; co: interruption notice/)
    expect(said({}, { agent_name: '<!channel>' })[0]?.text).toMatch(/^<!channel>:/)
  })
})

describe('requests and answers', () => {
  const message = { id: 'm_1', text: 'hello', payload: '{"p":1}', threadRef: '12.34' }
  const now = instant(1_000_000)
  const answered = (receiver: Parameters<typeof aReceiver>[0], status: number, body = '') =>
    attemptOf(aReceiver(receiver), { status, body, retryAfter: null })
  const slack = { target: { kind: 'slack', token: 'xoxb-secret-token', channel: 'C1' } } as const

  test('a webhook gets the payload, signed; in Slack format only the text', () => {
    const { headers, body } = outgoingOf(aReceiver({}), message, now)
    expect(body).toBe('{"p":1}')
    expect(headers).toMatchObject(signatureHeaders('m_1', now, body, [parseSecret(SECRET) as Uint8Array]))
    const plain = outgoingOf(
      aReceiver({ target: { kind: 'webhook', format: 'slack', secrets: [] } }),
      message,
      now,
    )
    expect(plain.body).toBe('{"text":"hello"}')
    expect(plain.headers['webhook-signature']).toBeUndefined()
  })

  test('a bot answers in the thread', () => {
    const { headers, body } = outgoingOf(aReceiver(slack), message, now)
    expect(JSON.parse(body)).toMatchObject({ channel: 'C1', text: 'hello', thread_ts: '12.34' })
    expect(headers.authorization).toBe('Bearer xoxb-secret-token')
  })

  test('an answer is what it means, and what it says is shortened to one line', () => {
    expect(answered({}, 204)).toMatchObject({ ok: true, status: 204 })
    expect(answered({}, 302)).toMatchObject({ ok: false, error: expect.stringContaining('redirects') })
    const refused = answered({}, 500, `a\r\nb\u001b[31m${'c'.repeat(900)}`)
    expect(refused).toMatchObject({ ok: false, status: 500 })
    expect(refused.error).toMatch(/^it answers 500: a {2}b \[31mc{100,}$/)
    expect(refused.error?.length).toBeLessThan(230)
    expect(answered(slack, 200, '{"ok":true,"ts":"1.2"}')).toMatchObject({ ok: true, ref: '1.2' })
    expect(answered(slack, 200, '{"ok":false,"error":"not_in_channel"}')).toMatchObject({
      ok: false,
      error: 'Slack refuses it: not_in_channel',
    })
    expect(answered(slack, 200, '<html>')).toMatchObject({ ok: false })
  })
})

test.each([
  ['127.0.0.1', true],
  ['127.9.9.9', true],
  ['169.254.169.254', true],
  ['0.0.0.0', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['fe80::1', true],
  ['fd00:ec2::254', true],
  ['10.0.0.1', false],
  ['93.184.216.34', false],
  ['2606:2800:220:1::1', false],
])('%s is this machine or its link: %s', (address, local) => {
  expect(isLocalAddress(address)).toBe(local)
})

test.each([
  'http://localhost/',
  'http://a.localhost./',
  'http://[::1]/',
  'http://2130706433/',
  'http://0x7f.1/',
])('however it is written: %s', (url) => expect(isLocalHost(new URL(url).hostname)).toBe(true))

test('where no replica was ready the end says what was started instead, and what it costs', () => {
  const step = (name: string, detail: string) => ({ ...anIncident({}).steps[0], step: name, detail })
  const textOf = (...steps: ReturnType<typeof step>[]) =>
    incidentMessages(
      [aReceiver({})],
      anIncident({
        ...{ outcome: 'promoted', closed_at: '2026-01-01T00:00:02.000Z' },
        steps: steps as never,
      }),
      'https://u.example',
      instant(0),
    ).at(-1)?.text
  const launched = 'm5.large@us-east-1b is the cheapest that is large enough, $0.0960 per hour on demand'
  const none = step('no-replica-ready', 'no replica is ready')
  expect(textOf(none, step('replica-launched', launched))).toContain(
    `. No replica was ready; an instance was started: ${launched}. Nobody served for`,
  )
  expect(textOf(none, step('waits-for-replica', 'i-0b has half of it'))).toContain(
    '. No replica was ready; one was waited for: i-0b has half of it. Nobody',
  )
  expect(textOf(step('no-copy-at-hand', ''), step('snapshot-restored', ''))).toContain(
    '. No replica was ready; it began with the newest snapshot. Nobody',
  )
  expect(textOf()).not.toContain('No replica')
})

describe('the file of receivers', () => {
  const env = { OPS: SECRET, TOKEN: 'xoxb-1234567890', HOOK: 'https://hooks.slack.com/services/T0/B0/secret' }
  const read = (text: string) =>
    parseReceivers(text, {
      name: 'notify.yaml',
      env,
      readSecret: (path) => {
        if (path === '/old') return `${SECRET}\n`
        throw new Error('ENOENT')
      },
    })
  const problemsOf = (text: string): string => {
    try {
      read(text)
    } catch (error) {
      expect(error).toMatchObject({ code: 'config_invalid', hint: expect.stringContaining('docs/') })
      return (error as Error).message
    }
    throw new Error('nothing was wrong')
  }

  test('webhooks and Slack, with what is usual where nothing is said', () => {
    const receivers = read(`
receivers:
  - { name: ops, kind: webhook, url: 'https://ops.example/hook', secrets: [{ env: OPS }, { file: /old }] }
  - name: hook
    kind: webhook
    format: slack
    url: { env: HOOK }
    stages: [failure]
    agents: ['orders-*']
  - name: team
    kind: slack
    token: { env: TOKEN }
    channel: C012345
    templates:
      receipt: 'Careful: {{agent}}'
`)
    expect(receivers.map(({ name }) => name)).toEqual(['ops', 'hook', 'team'])
    expect(receivers[0]?.target).toMatchObject({ secrets: [expect.any(Buffer), expect.any(Buffer)] })
    expect(receivers[1]).toMatchObject({ url: env.HOOK, stages: ['failure'], agents: ['orders-*'] })
    expect(receivers[2]).toMatchObject({
      url: 'https://slack.com/api/chat.postMessage',
      templates: { receipt: ['Careful: ', { name: 'agent' }] },
    })
  })

  test('an empty file tells nobody', () => expect(read('receivers: []')).toEqual([]))

  test('everything that is wrong is said at once, each with its line, and no secret with it', () => {
    const said = problemsOf(`
receivers:
  - name: ops
    kind: webhook
    url: ftp://user:pass@ops.example/hidden
    templates:
      receipt: |
        {{agent}} is fine
        {{agnet}} is not
      alert: "{{agent}}"
  - name: ops
    kind: webhook
    format: slack
    url: { env: NOWHERE }
    secrets: [{ file: /gone }, { env: TOKEN }]
  - name: meta
    kind: webhook
    url: http://169.254.169.254/latest
    secrets: [{ env: OPS }]
`)
    expect(said.split('\n')).toEqual([
      'notify.yaml:5: receivers[0].url: must be an http or https address',
      expect.stringMatching(/^notify\.yaml:3: receivers\[0\]\.secrets: a webhook is signed: name a secret/),
      'notify.yaml:9: receivers[0].templates.receipt: unknown placeholder {{agnet}}, did you mean "agent"?',
      expect.stringMatching(
        /^notify\.yaml:10: receivers\[0\]\.templates\.alert: unknown placeholder \{\{agent\}\}/,
      ),
      'notify.yaml:14: receivers[1].url: the environment variable NOWHERE is not set',
      'notify.yaml:15: receivers[1].secrets[0]: /gone cannot be read (ENOENT)',
      expect.stringMatching(/^notify\.yaml:15: receivers\[1\]\.secrets\[1\]: what is there is no secret/),
      expect.stringMatching(/^notify\.yaml:18: receivers\[2\]\.url: 169\.254\.169\.254 is this machine/),
      'notify.yaml:11: receivers[1].name: there is another receiver "ops"',
    ])
    for (const secret of ['hidden', 'user:pass', env.TOKEN]) expect(said).not.toContain(secret)
  })

  test.each([
    ['receivers:\n  - name: a\n    kind: webhok\n', 'notify.yaml:3: receivers[0].kind: '],
    ['receivers:\n  - { name: a, kind: slack, channel: c, tokn: x }\n', 'notify.yaml:2: receivers[0]'],
    ['receivers:\n  - name: a\n   kind: [\n', 'notify.yaml:'],
    ['recievers: []\n', 'receivers'],
    [
      'receivers:\n  - { name: a, kind: slack, channel: c, url: "http://s.example/", token: { env: TOKEN } }\n',
      'a token goes over it',
    ],
    ['receivers:\n  - { name: a, kind: webhook, url: x, secrets: [whsec_abc] }\n', 'no secret is written'],
    [
      'receivers:\n  - { name: a, kind: webhook, url: x, secrets: [{ env: UNDERSTUDY_X }] }\n',
      'must not begin with UNDERSTUDY_',
    ],
  ])('a mistake has its line: %j', (text, said) => expect(problemsOf(text)).toContain(said))

  test('a local address is taken where somebody says so', () => {
    const local = (rest: string) =>
      `receivers:\n  - { name: a, kind: webhook, format: slack, url: 'http://127.0.0.1:1/x'${rest} }\n`
    expect(problemsOf(local(''))).toContain('allow_local')
    expect(read(local(', allow_local: true'))[0]?.allowLocal).toBe(true)
  })
})

test('a name that leads to this machine is not connected to, whatever else it leads to', async () => {
  const answers = [
    { address: '93.184.216.34', family: 4 },
    { address: '127.0.0.1', family: 4 },
  ]
  const lookup = guardedLookup(((_: string, __: unknown, done: (...a: unknown[]) => void) =>
    done(null, answers)) as never)
  const ask = (all: boolean) =>
    new Promise<unknown>((resolve, reject) =>
      lookup('evil.example', { all }, (error, address) => (error ? reject(error) : resolve(address))),
    )
  await expect(ask(true)).rejects.toMatchObject({ code: 'forbidden', message: /127\.0\.0\.1/ })
  answers.pop()
  expect(await ask(true)).toEqual(answers)
  expect(await ask(false)).toBe('93.184.216.34')
})
