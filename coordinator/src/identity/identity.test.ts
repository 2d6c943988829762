import { createPublicKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentId, instanceId } from '@understudy/shared/core/ids'
import { hours, systemClock } from '@understudy/shared/core/time'
import type { CertificateRequest, CoordinatorMessage } from '@understudy/shared/protocol/link'
import { certificateRequestText, type MemberIdentity } from '@understudy/shared/protocol/member-identity'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { type InstanceRow, type OpenDatabase, openSqlite } from '../storage/database.ts'
import { migrate } from '../storage/migrate.ts'
import { createCertificateRequests, openAuthority } from './identity.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const SELF: MemberIdentity = { agent: agentId('orders'), instance: instanceId('i-0abc') }
const LIFETIME = hours(24)

async function open(path = ':memory:'): Promise<OpenDatabase> {
  const database = openSqlite({ path })
  cleanups.push(() => database.close())
  await migrate(database.db)
  return database
}

const p256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey

/** A request as a member would make it; each argument is something that can be wrong with it. */
function requestOf(member: MemberIdentity, key: KeyObject, signer = key): CertificateRequest {
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' }).toString('base64')
  const text = Buffer.from(certificateRequestText(member, publicKey))
  const signature = sign('sha256', text, signer).toString('base64')
  return { type: 'certificate-request', publicKey, signature }
}

test('a certificate says who it is for, for how long, and that it signs nothing', async () => {
  const { clock } = createVirtualTime()
  const authority = await openAuthority((await open()).db, clock, LIFETIME)
  const issuer = new X509Certificate(authority.certificates[0] ?? '')
  const key = p256()
  const { certificate, serial, expiresAt } = await authority.issue(SELF, requestOf(SELF, key))
  const leaf = new X509Certificate(certificate)
  expect(leaf.subjectAltName).toBe('URI:understudy://orders/i-0abc')
  expect(leaf.subject).toBe('CN=i-0abc')
  expect(leaf.ca).toBe(false)
  expect(leaf.checkPrivateKey(key)).toBe(true)
  expect(leaf.checkIssued(issuer) && leaf.verify(issuer.publicKey)).toBe(true)
  expect(leaf.validFromDate.getTime()).toBe(clock.now() - 600_000)
  expect(leaf.validToDate.getTime()).toBe(clock.now() + LIFETIME)
  expect(expiresAt).toEqual(leaf.validToDate)
  expect(leaf.serialNumber.toLowerCase()).toBe(serial)
  // serverAuth and clientAuth, and nothing else.
  expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  const again = await authority.issue(SELF, requestOf(SELF, key))
  expect(again.serial).not.toBe(serial)
})

test('the authority signs certificates and no other authority, for ten years', async () => {
  const { clock } = createVirtualTime()
  const authority = await openAuthority((await open()).db, clock, LIFETIME)
  const certificate = new X509Certificate(authority.certificates[0] ?? '')
  expect(certificate.ca).toBe(true)
  expect(certificate.verify(certificate.publicKey)).toBe(true)
  expect(certificate.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' })
  expect(certificate.validToDate.getTime() - clock.now()).toBe(hours(24 * 3650))
  // BasicConstraints, critical: cA TRUE, pathLenConstraint 0; KeyUsage, critical: keyCertSign, cRLSign (RFC 5280 4.2.1).
  const der = certificate.raw.toString('hex')
  expect(der).toContain('0603551d130101ff040830060101ff020100')
  expect(der).toContain('0603551d0f0101ff040403020106')
})

test('two coordinators that start for the first time at the same time make one authority', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-ca-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 'understudy.db')
  const [one, two] = [await open(path), await open(path)]
  const [a, b] = await Promise.all([one, two].map(({ db }) => openAuthority(db, systemClock, LIFETIME)))
  expect(a?.certificates).toEqual(b?.certificates)
  expect(await one.db.selectFrom('certificate_authorities').select('id').execute()).toEqual([{ id: 1 }])
  const issued = await b?.issue(SELF, requestOf(SELF, p256()))
  const issuer = new X509Certificate(a?.certificates[0] ?? '')
  expect(new X509Certificate(issued?.certificate ?? '').verify(issuer.publicKey)).toBe(true)
  const later = await openAuthority(two.db, systemClock, LIFETIME)
  expect(later.certificates).toEqual(a?.certificates)
})

test('an authority whose key does not fit is not used', async () => {
  const { db } = await open()
  await openAuthority(db, systemClock, LIFETIME)
  const private_key = p256().export({ type: 'pkcs8', format: 'pem' }).toString()
  await db.updateTable('certificate_authorities').set({ private_key }).execute()
  await expect(openAuthority(db, systemClock, LIFETIME)).rejects.toMatchObject({
    code: 'state_unreadable',
    hint: expect.stringContaining('backup'),
  })
  await db.updateTable('certificate_authorities').set({ private_key: 'x' }).execute()
  await expect(openAuthority(db, systemClock, LIFETIME)).rejects.toMatchObject({ code: 'state_unreadable' })
})

test.each<[string, () => CertificateRequest, string]>([
  ['signed with another key', () => requestOf(SELF, p256(), p256()), 'forbidden'],
  [
    'made for another instance',
    () => requestOf({ ...SELF, instance: instanceId('i-0def') }, p256()),
    'forbidden',
  ],
  ['made for another agent', () => requestOf({ ...SELF, agent: agentId('other') }, p256()), 'forbidden'],
  ['not signed', () => ({ ...requestOf(SELF, p256()), signature: '' }), 'forbidden'],
  [
    'for another curve',
    () => requestOf(SELF, generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey),
    'input_invalid',
  ],
  [
    'for an RSA key',
    () => requestOf(SELF, generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey),
    'input_invalid',
  ],
  ['for no key', () => ({ ...requestOf(SELF, p256()), publicKey: 'AAAA' }), 'input_invalid'],
])('a request that is %s is refused', async (_, request, code) => {
  const authority = await openAuthority((await open()).db, systemClock, LIFETIME)
  await expect((async () => authority.issue(SELF, request()))()).rejects.toMatchObject({ code })
})

type Standing = Pick<InstanceRow, 'agent_id' | 'retired' | 'terminated_at'>
const member: Standing = { agent_id: SELF.agent, retired: 0, terminated_at: null }

test.each<[string, Standing | undefined]>([
  ['is unknown', undefined],
  ['belongs to another agent', { ...member, agent_id: 'other' }],
  ['was replaced', { ...member, retired: 1 }],
  ['has ended', { ...member, terminated_at: 1 }],
])('an instance that %s gets no certificate, whatever it can prove', async (_, row) => {
  const answers: CoordinatorMessage[] = []
  const answer = createCertificateRequests({
    authority: await openAuthority((await open()).db, systemClock, LIFETIME),
    fleet: { instance: () => Promise.resolve(row) },
    log: pino({ level: 'silent' }),
    send: (_instance, message) => answers.push(message) > 0,
  })
  await answer(SELF.agent, SELF.instance, requestOf(SELF, p256()))
  expect(answers).toMatchObject([{ type: 'certificate-refused', code: 'forbidden' }])
})

test('neither an answer nor the log has anything of the private key of the authority', async () => {
  const { db } = await open()
  const lines: string[] = []
  const answers: CoordinatorMessage[] = []
  let broken = false
  const answer = createCertificateRequests({
    authority: await openAuthority(db, systemClock, LIFETIME),
    fleet: { instance: () => (broken ? Promise.reject(new Error('disk')) : Promise.resolve(member)) },
    log: pino({ level: 'trace' }, { write: (line: string) => lines.push(line) }),
    send: (_instance, message) => answers.push(message) > 0,
  })
  await answer(SELF.agent, SELF.instance, requestOf(SELF, p256()))
  await answer(SELF.agent, SELF.instance, requestOf(SELF, p256(), p256()))
  broken = true
  await answer(SELF.agent, SELF.instance, requestOf(SELF, p256()))
  expect(answers.map((message) => [message.type, 'code' in message ? message.code : ''])).toEqual([
    ['certificate', ''],
    ['certificate-refused', 'forbidden'],
    ['certificate-refused', 'internal'],
  ])
  const { private_key } = await db.selectFrom('certificate_authorities').selectAll().executeTakeFirstOrThrow()
  const secret = private_key.split('\n')[1] ?? ''
  expect(secret).toHaveLength(64)
  expect(lines).toHaveLength(3)
  expect(JSON.stringify([lines, answers])).not.toContain(secret)
})
