import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { agentId, type InstanceId, instanceId } from '@understudy/shared/core/ids'
import { hours } from '@understudy/shared/core/time'
import { beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Credentials, clientTls } from '../identity/identity.ts'
import {
  createTestAuthority,
  holdIdentity,
  TEST_AGENT,
  type TestAuthority,
  type TestCertificate,
} from '../identity/testing.ts'
import { type PairOptions, PRIMARY, pair, REPLICA, scratch, TOKEN, until } from './testing.ts'

/** Who may open a state stream, and whose stream a replica takes. */

const member = (instance: InstanceId, agent = TEST_AGENT) => ({ agent, instance })

let authority: TestAuthority
let stranger: TestAuthority
beforeAll(async () => {
  authority = await createTestAuthority()
  stranger = await createTestAuthority()
})

/** A pair whose ends show what they are given; nothing where they are given nothing. */
const pairWith = (primary?: Credentials, replica?: Credentials, options: PairOptions = {}) => {
  const ends = [holdIdentity(member(PRIMARY), primary), holdIdentity(member(REPLICA), replica)] as const
  return pair(scratch(), ends, options).then((both) => ({ ...both, ends }))
}

const issue = (instance: InstanceId, options?: TestCertificate) => authority.issue(member(instance), options)

/** Dials as a replica would. Resolves with `open`, with the status of the answer, or with why there was none. */
function dial(port: number, tls: ConnectionOptions, instance = REPLICA, scheme = 'wss'): Promise<string> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${scheme}://127.0.0.1:${port}/replication`, {
      ...tls,
      headers: { authorization: `Bearer ${TOKEN}`, 'x-understudy-instance': instance },
      handshakeTimeout: 5000,
    })
    const end = (answer: string) => {
      resolve(answer)
      socket.on('error', () => undefined)
      socket.terminate()
    }
    socket.once('open', () => end('open'))
    socket.once('unexpected-response', (_, response) => end(String(response.statusCode)))
    socket.once('error', (error: NodeJS.ErrnoException) => end(`${error.code}: ${error.message}`))
  })
}

const clientOf = (credentials: Credentials) => clientTls(credentials, member(PRIMARY))

test('a replica with its own certificate comes in', async () => {
  const { primary } = await pairWith(await issue(PRIMARY))
  expect(await dial(primary.port, clientOf(await issue(REPLICA)))).toBe('open')
})

test('plain text gets no answer', async () => {
  const { primary } = await pairWith(await issue(PRIMARY))
  expect(await dial(primary.port, {}, REPLICA, 'ws')).toMatch(/ECONNRESET/)
  const answer = await fetch(`http://127.0.0.1:${primary.port}/`).catch(() => 'none')
  expect(answer).toBe('none')
})

test('whoever shows no certificate is refused', async () => {
  const { primary } = await pairWith(await issue(PRIMARY))
  const { key, cert, ...nothing } = clientOf(await issue(REPLICA))
  expect(await dial(primary.port, nothing)).toMatch(/certificate required/)
})

test('the certificate of another authority is refused', async () => {
  const { primary } = await pairWith(await issue(PRIMARY))
  const foreign = { ...(await stranger.issue(member(REPLICA))), authority: [authority.certificate] }
  expect(await dial(primary.port, clientOf(foreign))).toMatch(/ECONNRESET/)
})

test.each<[string, TestCertificate]>([
  ['has expired', { from: -hours(2), until: -1000 }],
  ['is not valid yet', { from: hours(1) }],
])('a certificate that %s is refused', async (_, options) => {
  const { primary } = await pairWith(await issue(PRIMARY))
  expect(await dial(primary.port, clientOf(await issue(REPLICA, options)))).toMatch(/ECONNRESET/)
})

test.each<[string, TestCertificate]>([
  ['an instance of another agent', { uris: [`understudy://other/${REPLICA}`] }],
  ['another instance than the request is of', { uris: [`understudy://${TEST_AGENT}/i-another1`] }],
  ['two instances', { uris: [REPLICA, 'i-another1'].map((name) => `understudy://${TEST_AGENT}/${name}`) }],
  ['something that only begins like an instance', { uris: [`understudy://${TEST_AGENT}/${REPLICA}/x`] }],
  ['the right instance under another scheme', { uris: [`https://${TEST_AGENT}/${REPLICA}`] }],
])('the certificate of %s is refused, whatever token comes with it', async (_, options) => {
  const { primary } = await pairWith(await issue(PRIMARY))
  expect(await dial(primary.port, clientOf(await issue(REPLICA, options)))).toBe('403')
})

test('a certificate does not take the place of the token of the pair', async () => {
  const { primary } = await pairWith(await issue(PRIMARY))
  const other = instanceId('i-another1')
  expect(await dial(primary.port, clientOf(await issue(other)), other)).toBe('401')
})

test('TLS 1.2 is refused', async () => {
  const { primary } = await pairWith(await issue(PRIMARY))
  const old = { ...clientOf(await issue(REPLICA)), minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
  expect(await dial(primary.port, old)).toMatch(/alert protocol version/)
})

test.each<[string, () => Promise<Credentials>, string]>([
  ['another instance', () => issue(instanceId('i-another1')), 'forbidden'],
  ['another agent', () => authority.issue(member(PRIMARY, agentId('other'))), 'forbidden'],
  ['another authority', () => stranger.issue(member(PRIMARY)), 'unavailable'],
  ['yesterday', () => issue(PRIMARY, { from: -hours(2), until: -1000 }), 'unavailable'],
])('a replica takes nothing from a primary with the certificate of %s', async (_, credentials, code) => {
  const { from, to, replica, follow } = await pairWith(await credentials(), await issue(REPLICA))
  writeFileSync(join(from, 'a'), 'secret')
  follow()
  await until(() => replica.trouble !== undefined)
  expect(replica.trouble).toMatchObject({ code, retryable: true, hint: expect.any(String) })
  expect(() => readFileSync(join(to, 'a'))).toThrow('ENOENT')
})

test('a replica without a certificate says so, and connects as soon as it has one', async () => {
  // The next try would be after a minute, which is longer than anything here is waited for.
  const { ends, replica, follow } = await pairWith(await issue(PRIMARY), undefined, { random: () => 600 })
  follow()
  await until(() => replica.trouble !== undefined)
  expect(replica.trouble).toMatchObject({ code: 'unavailable', hint: expect.stringContaining('link') })
  ends[1].renew(await issue(REPLICA))
  await until(() => replica.whole && replica.trouble === undefined)
})

test('a primary without a certificate lets nobody in, and everybody once it has one', async () => {
  const { ends, primary } = await pairWith()
  const client = clientOf(await issue(REPLICA))
  expect(await dial(primary.port, client)).toMatch(/handshake failure/)
  ends[0].renew(await issue(PRIMARY))
  expect(await dial(primary.port, client)).toBe('open')
  const { key, cert, ...nothing } = client
  expect(await dial(primary.port, nothing)).toMatch(/certificate required/)
})

test('a new certificate is shown to the next connection and cuts no open one', async () => {
  const before = await issue(PRIMARY)
  const { from, to, ends, primary, replica, follow } = await pairWith(before, await issue(REPLICA))
  const shown = () =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(primary.port, '127.0.0.1', { ...clientOf(before) }, () => {
        resolve(new X509Certificate(socket.getPeerCertificate().raw).serialNumber)
        socket.destroy()
      })
      socket.on('error', reject)
    })
  follow()
  await until(() => replica.whole)
  expect(await shown()).toBe(new X509Certificate(before.certificate).serialNumber)
  const [connection] = primary.lags()
  const after = await issue(PRIMARY)
  ends[0].renew(after)
  ends[1].renew(await issue(REPLICA))
  expect(await shown()).toBe(new X509Certificate(after.certificate).serialNumber)
  writeFileSync(join(from, 'a'), 'written later')
  await until(() => {
    try {
      return readFileSync(join(to, 'a'), 'utf8') === 'written later'
    } catch {
      return false
    }
  })
  expect(primary.lags()).toHaveLength(1)
  expect(primary.lags()[0]?.instance).toBe(connection?.instance)
  expect(replica.trouble).toBeUndefined()
})

test('no session is resumed: a certificate is looked at each time', async () => {
  const { primary } = await pairWith(await issue(PRIMARY))
  const options = { ...clientOf(await issue(REPLICA)), ALPNProtocols: ['http/1.1'] }
  const sessions: Buffer[] = []
  const open = (session?: Buffer) =>
    new Promise<TLSSocket>((resolve, reject) => {
      const socket = connect(primary.port, '127.0.0.1', { ...options, ...(session ? { session } : {}) })
      socket.on('session', (ticket) => sessions.push(ticket))
      socket.on('error', reject)
      // The answer comes after whatever the server has to say about sessions.
      socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'))
      socket.once('data', () => resolve(socket))
    })
  const first = await open()
  const second = await open(sessions.at(-1) ?? first.getSession())
  expect(second.isSessionReused()).toBe(false)
  first.destroy()
  second.destroy()
})
