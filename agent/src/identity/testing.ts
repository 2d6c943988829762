// The library behind the next one wants it before anything else.
import 'reflect-metadata'
import { type KeyObject, webcrypto } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { agentId, type InstanceId } from '@understudy/shared/core/ids'
import { hours } from '@understudy/shared/core/time'
import type { CertificateIssued, CertificateRequest } from '@understudy/shared/protocol/link'
import { type MemberIdentity, memberUri } from '@understudy/shared/protocol/member-identity'
import { type Credentials, newKey, toRequest } from './credentials.ts'
import type { PeerIdentity } from './identity.ts'

/** For processes: each finds with `openIdentity` what was written for it. */
export { saveCredentials } from './identity-file.ts'

/** Certificates without a coordinator, for tests and benchmarks. */

const P256 = { name: 'ECDSA', hash: 'SHA-256', namedCurve: 'P-256' } as const
/** The agent that all instances of `testIdentity` belong to. */
export const TEST_AGENT = agentId('agent-under-test')

export interface TestCertificate {
  /** Milliseconds from now; ten minutes ago and a day ahead by default. */
  readonly from?: number
  readonly until?: number
  /** The names in it, instead of the one of the member. */
  readonly uris?: readonly string[]
}

/** An authority in memory, as strict or as careless as a test wants it. */
export interface TestAuthority {
  /** PEM. */
  readonly certificate: string
  answer(
    self: MemberIdentity,
    request: CertificateRequest,
    options?: TestCertificate,
  ): Promise<CertificateIssued>
  issue(self: MemberIdentity, options?: TestCertificate): Promise<Credentials>
}

export async function createTestAuthority(): Promise<TestAuthority> {
  const keys = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify'])
  const name = [{ CN: ['authority of a test'] }]
  const authority = await X509CertificateGenerator.createSelfSigned({
    name,
    notBefore: new Date(Date.now() - hours(24 * 30)),
    notAfter: new Date(Date.now() + hours(24 * 30)),
    keys,
    signingAlgorithm: P256,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
    ],
  })
  const certificate = authority.toString('pem')

  const test: TestAuthority = {
    certificate,
    async answer(self, request, { from = -600_000, until = hours(24), uris = [memberUri(self)] } = {}) {
      const issued = await X509CertificateGenerator.create({
        subject: [{ CN: [self.instance] }],
        issuer: name,
        notBefore: new Date(Date.now() + from),
        notAfter: new Date(Date.now() + until),
        publicKey: new Uint8Array(Buffer.from(request.publicKey, 'base64')),
        signingKey: keys.privateKey,
        signingAlgorithm: P256,
        extensions: [
          new BasicConstraintsExtension(false, undefined, true),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
          new SubjectAlternativeNameExtension(uris.map((value) => ({ type: 'url', value }))),
        ],
      })
      return { type: 'certificate', certificate: issued.toString('pem'), authority: [certificate] }
    },
    async issue(self, options) {
      const key = newKey()
      const issued = await test.answer(self, toRequest(self, key), options)
      return { ...issued, key: toPem(key) }
    },
  }
  return test
}

const toPem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString()

/** An identity whose certificate a test changes at will. */
export interface TestIdentity extends PeerIdentity {
  current: Credentials | undefined
  renew(credentials: Credentials): void
}

export function holdIdentity(self: MemberIdentity, credentials?: Credentials): TestIdentity {
  const listeners = new Set<(credentials: Credentials) => void>()
  const identity: TestIdentity = {
    self,
    current: credentials,
    onRenewal(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    renew(next) {
      identity.current = next
      for (const listener of listeners) listener(next)
    },
  }
  return identity
}

/** One identity for each instance, of one agent and by one authority. */
export async function testIdentity<const Instances extends readonly InstanceId[]>(
  ...instances: Instances
): Promise<{ [Index in keyof Instances]: TestIdentity }> {
  const authority = await createTestAuthority()
  const held = instances.map(async (instance) => {
    const self = { agent: TEST_AGENT, instance }
    return holdIdentity(self, await authority.issue(self))
  })
  return Promise.all(held) as Promise<{ [Index in keyof Instances]: TestIdentity }>
}
