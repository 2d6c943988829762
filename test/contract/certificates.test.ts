import { createPublicKey, generateKeyPairSync, sign, X509Certificate } from 'node:crypto'
import { agentId, type InstanceId } from '@understudy/shared/core/ids'
import { certificateRequestText, type MemberIdentity } from '@understudy/shared/protocol/member-identity'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { type Bench, startBench, until } from './bench.ts'
import type { Puppet } from './puppet.ts'

let bench: Bench
afterEach(() => bench.close())

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64')

const memberOf = (instance: InstanceId): MemberIdentity => ({ agent: agentId('a'), instance })

async function ask(puppet: Puppet, member: MemberIdentity, signature?: string) {
  const before = puppet.certificates.length
  const text = Buffer.from(certificateRequestText(member, publicKey))
  puppet.sendAnything({
    type: 'certificate-request',
    publicKey,
    signature: signature ?? sign('sha256', text, privateKey).toString('base64'),
  })
  await until(() => puppet.certificates.length > before || puppet.refusals.length > 0)
  return puppet.certificates.at(-1)
}

test('an instance gets a certificate in the name of its link, and of no other', async () => {
  const lines: string[] = []
  bench = await startBench({ log: pino({}, { write: (line: string) => lines.push(line) }) })
  const primary = await bench.primary('a')
  const { puppet } = await bench.replica('a', primary)
  const [mine, theirs] = [
    await ask(primary, memberOf(primary.instance)),
    await ask(puppet, memberOf(puppet.instance)),
  ]
  if (mine?.type !== 'certificate' || theirs?.type !== 'certificate')
    throw new Error('there was no certificate')
  const certificate = new X509Certificate(mine.certificate)
  expect(certificate.subjectAltName).toBe(`URI:understudy://a/${primary.instance}`)
  expect(certificate.checkPrivateKey(privateKey)).toBe(true)
  expect(new X509Certificate(theirs.certificate).subjectAltName).toBe(`URI:understudy://a/${puppet.instance}`)
  expect(theirs.authority).toEqual(mine.authority)
  expect(certificate.verify(new X509Certificate(mine.authority[0] ?? '').publicKey)).toBe(true)
  // Asked for with the right key, in somebody else's name.
  expect(await ask(puppet, memberOf(primary.instance))).toMatchObject({
    type: 'certificate-refused',
    code: 'forbidden',
    hint: expect.any(String),
  })
  expect(lines.filter((line) => line.includes('certificate.issued'))).toHaveLength(2)
  expect(lines.join()).not.toContain('PRIVATE KEY')
})

test('a wrong proof is refused, and the link stays', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const text = Buffer.from(certificateRequestText(memberOf(primary.instance), publicKey))
  const forged = sign('sha256', text, other).toString('base64')
  expect(await ask(primary, memberOf(primary.instance), forged)).toMatchObject({ code: 'forbidden' })
  expect(await ask(primary, memberOf(primary.instance))).toMatchObject({ type: 'certificate' })
  expect(primary.refusals).toEqual([])
})

test('an instance that was let go gets no certificate', async () => {
  bench = await startBench()
  const primary = await bench.primary('a')
  const { id, puppet } = await bench.replica('a', primary)
  const { credential } = (await bench.enrol(puppet.instance, await bench.joinToken('a', puppet.instance)))
    .body
  expect((await bench.call('DELETE', `/api/agents/a/replicas/${id}`)).status).toBeLessThan(300)
  const again = await bench.connect('a', puppet.instance, credential).catch((error: Error) => error.message)
  if (typeof again === 'string') return expect(again).toMatch(/^status 40[13]$/)
  expect(await ask(again, memberOf(puppet.instance))).toMatchObject({ code: 'forbidden' })
})
