import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { hours, minutes, seconds } from '@understudy/shared/core/time'
import type { CertificateIssued, CertificateRequest } from '@understudy/shared/protocol/link'
import type { MemberIdentity } from '@understudy/shared/protocol/member-identity'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { describeCredentials, type Identity, openIdentity } from './identity.ts'
import { createTestAuthority, type TestAuthority, type TestCertificate } from './testing.ts'

const SELF: MemberIdentity = { agent: agentId('orders'), instance: instanceId('i-0abc') }

let authority: TestAuthority
beforeAll(async () => {
  authority = await createTestAuthority()
})
const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-identity-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'identity.json')
}

interface Bench {
  readonly identity: Identity
  readonly time: ReturnType<typeof createVirtualTime>
  readonly path: string
  readonly asked: CertificateRequest[]
  readonly lines: string[]
  /** Whether the link is up. */
  up: boolean
  /** Answers the last request as the coordinator would; the options are what is wrong with the answer. */
  answer(options?: TestCertificate, by?: TestAuthority): Promise<CertificateIssued>
  /** Ends it, with everything that it was still writing. */
  end(): Promise<void>
}

function open(path = scratch(), self = SELF, ahead = 0): Bench {
  const time = createVirtualTime(Date.now() + ahead)
  const lines: string[] = []
  const asked: CertificateRequest[] = []
  const identity = openIdentity({
    path,
    self,
    send: (request) => bench.up && asked.push(request) > 0,
    clock: time.clock,
    random: () => 0.5,
    log: pino({ level: 'trace' }, { write: (line: string) => lines.push(line) }),
  })
  const stop = new AbortController()
  const running = identity.run(stop.signal)
  const bench: Bench = {
    identity,
    time,
    path,
    asked,
    lines,
    up: true,
    async answer(options, by = authority) {
      const message = await by.answer(SELF, asked.at(-1) as CertificateRequest, options)
      identity.accept(message)
      return message
    },
    async end() {
      stop.abort()
      await running
    },
  }
  cleanups.push(async () => {
    await bench.end()
    expect(time.pending()).toBe(0)
  })
  return bench
}

test('at its first connection an instance asks for a certificate, and uses and keeps the answer', async () => {
  const { identity, asked, answer, end, path, lines } = open()
  const seen: string[] = []
  identity.onRenewal(({ certificate }) => seen.push(certificate))
  expect(asked).toEqual([])
  identity.connected()
  expect(asked).toHaveLength(1)
  const { certificate } = await answer()
  expect(identity.current).toMatchObject({ certificate, authority: [authority.certificate] })
  expect(seen).toEqual([certificate])
  expect(identity.degraded).toBeUndefined()
  await end()
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const secret = identity.current?.key.split('\n')[1] ?? ''
  expect(secret).toHaveLength(64)
  expect(readFileSync(path, 'utf8')).toContain(secret)
  expect(JSON.stringify([lines, asked])).not.toContain(secret)
})

test('it asks again once a third of the lifetime has passed, with another key', async () => {
  const { identity, asked, answer, time } = open()
  identity.connected()
  await answer()
  const before = identity.current
  await time.advance(hours(8) - minutes(1))
  identity.connected()
  expect(asked).toHaveLength(1)
  await time.advance(minutes(1))
  expect(asked).toHaveLength(2)
  expect(asked[1]?.publicKey).not.toBe(asked[0]?.publicKey)
  expect(identity.current).toEqual(before)
  await answer()
  expect(identity.current?.key).not.toBe(before?.key)
})

test('while the link is down nothing is asked; the next connection does it', async () => {
  const bench = open()
  bench.up = false
  bench.identity.connected()
  await bench.time.advance(hours(1))
  expect(bench.asked).toEqual([])
  bench.up = true
  bench.identity.connected()
  expect(bench.asked).toHaveLength(1)
})

test('a request that is not answered is made again, and a late answer still fits', async () => {
  const { identity, asked, answer, time } = open()
  identity.connected()
  await time.advance(minutes(1))
  expect(asked.length).toBeGreaterThan(2)
  expect(new Set(asked.map(({ publicKey }) => publicKey)).size).toBe(1)
  const many = asked.length
  await time.advance(hours(1))
  expect(asked.length - many).toBeLessThan(30)
  await answer()
  expect(identity.current).toBeDefined()
})

test('a refusal shows in the words of the coordinator, and it asks again', async () => {
  const { identity, asked, answer, time } = open()
  identity.connected()
  identity.refused({ type: 'certificate-refused', code: 'forbidden', message: 'not any more', hint: 'Join.' })
  expect(identity.degraded).toMatchObject({
    code: 'certificate_missing',
    message: expect.stringContaining('not any more'),
    hint: 'Join.',
  })
  await time.advance(minutes(1))
  expect(asked.length).toBeGreaterThan(1)
  await answer()
  expect(identity.degraded).toBeUndefined()
})

test('after a restart without the coordinator it has the same certificate', async () => {
  const first = open()
  first.identity.connected()
  await first.answer()
  await first.end()
  const { identity, asked } = open(first.path)
  expect(identity.current).toEqual(first.identity.current)
  expect(identity.current).toBeDefined()
  expect(asked).toEqual([])
})

test('the first connection after a restart brings a new one: the authority may have changed', async () => {
  const first = open()
  first.identity.connected()
  await first.answer()
  await first.end()
  const { identity, answer } = open(first.path)
  identity.connected()
  const other = await createTestAuthority()
  await answer({}, other)
  expect(identity.current?.authority).toEqual([other.certificate])
})

test('what is on disk is not used by another instance, nor when it is damaged', async () => {
  const first = open()
  first.identity.connected()
  await first.answer()
  await first.end()
  const other = { ...SELF, instance: instanceId('i-0def') }
  expect(open(first.path, other).identity.current).toBeUndefined()
  const kept = JSON.parse(readFileSync(first.path, 'utf8'))
  const { key } = await authority.issue(SELF)
  for (const damaged of [
    '',
    '{}',
    JSON.stringify({ ...kept, key }),
    JSON.stringify({ ...kept, authority: [] }),
  ]) {
    writeFileSync(first.path, damaged)
    const { identity, lines } = open(first.path)
    expect(identity.current).toBeUndefined()
    expect(lines.join()).toContain('identity.file_unusable')
    expect(lines.join()).not.toContain(key.split('\n')[1])
  }
})

test.each<[string, TestCertificate]>([
  ['for another instance', { uris: ['understudy://orders/i-0def'] }],
  ['for another agent', { uris: ['understudy://other/i-0abc'] }],
  ['for two instances', { uris: ['understudy://orders/i-0abc', 'understudy://orders/i-0def'] }],
  ['with more in its name', { uris: ['understudy://orders/i-0abc/x'] }],
])('a certificate %s is not taken', async (_, options) => {
  const { identity, answer } = open()
  identity.connected()
  await answer(options)
  expect(identity.current).toBeUndefined()
  expect(identity.degraded?.message).toContain('cannot be used')
  await answer()
  expect(identity.current).toBeDefined()
})

test('a certificate for another key, or that its own authority has not signed, is not taken', async () => {
  const { identity, asked } = open()
  identity.connected()
  const { certificate, authority: authorities } = await authority.issue(SELF)
  identity.accept({ type: 'certificate', certificate, authority: [...authorities] })
  expect(identity.degraded?.message).toContain('another key')
  const right = await authority.answer(SELF, asked[0] as CertificateRequest)
  identity.accept({ ...right, authority: [(await createTestAuthority()).certificate] })
  expect(identity.degraded?.message).toContain('no authority')
  identity.accept({ ...right, authority: [right.certificate] })
  expect(identity.degraded?.message).toContain('no authority')
  identity.accept({ ...right, certificate: 'x' })
  expect(identity.current).toBeUndefined()
  identity.accept(right)
  expect(identity.current).toBeDefined()
})

test('an instance without a certificate says so after a moment, and what to do', async () => {
  const { identity, time } = open()
  expect(identity.degraded).toBeUndefined()
  await time.advance(seconds(6))
  expect(identity.degraded).toMatchObject({
    code: 'certificate_missing',
    hint: expect.stringContaining('link'),
  })
})

test('while the coordinator is away a certificate serves to its end, and says when that comes', async () => {
  const bench = open()
  const { identity, time, answer } = bench
  identity.connected()
  await answer()
  bench.up = false
  await time.advance(hours(15))
  expect(identity.degraded).toBeUndefined()
  await time.advance(hours(2))
  expect(identity.current).toBeDefined()
  expect(identity.degraded).toMatchObject({
    code: 'certificate_expiring',
    hint: expect.stringContaining('goes on'),
  })
  await time.advance(hours(7) + seconds(1))
  expect(identity.current).toBeUndefined()
  expect(identity.degraded?.code).toBe('certificate_expired')
  bench.up = true
  identity.connected()
  await answer({ until: hours(48) })
  expect(identity.current).toBeDefined()
  expect(identity.degraded).toBeUndefined()
})

test('with a clock that is days off it says so, and does not ask without end', async () => {
  const fast = open(scratch(), SELF, hours(72))
  fast.identity.connected()
  let answered = 0
  for (let second = 0; second < 600; second += 1) {
    if (fast.asked.length > answered) await fast.answer()
    answered = fast.asked.length
    await fast.time.advance(seconds(1))
  }
  expect(fast.identity.current).toBeUndefined()
  expect(fast.identity.degraded).toMatchObject({
    code: 'certificate_expired',
    hint: expect.stringContaining('clock'),
  })
  expect(fast.asked.length).toBeLessThan(30)
  const slow = open(scratch(), SELF, -hours(72))
  slow.identity.connected()
  await slow.answer()
  expect(slow.identity.current).toBeUndefined()
  expect(slow.identity.degraded?.code).toBe('certificate_not_yet_valid')
})

test('what is kept is told in a line, and what to do when it cannot be used', async () => {
  const { identity, path, time, answer, end } = open()
  const describe = () => describeCredentials(path, SELF, time.clock.now())
  expect(describe()).toContain('first connection')
  identity.connected()
  await answer()
  await end()
  expect(describe()).toMatch(/^valid from \d{4}-.* to \d{4}-/)
  await time.advance(hours(25))
  expect(describe).toThrow('and not now')
  writeFileSync(path, '{}')
  expect(describe).toThrow(`${path} cannot be used`)
})
