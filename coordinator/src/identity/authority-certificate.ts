// The library behind the next one wants it before anything else.
import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { hours, type Instant, type Millis, millis, plus } from '@understudy/shared/core/time'
import {
  CERTIFICATE_BACKDATE,
  type MemberIdentity,
  memberUri,
} from '@understudy/shared/protocol/member-identity'

/** What every authority and every certificate of ours looks like (RFC 5280). Nothing here keeps anything. */

const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256', namedCurve: 'P-256' } as const
const AUTHORITY_LIFETIME = hours(24 * 3650)

export interface AuthorityKeys {
  /** PEM. */
  readonly certificate: string
  /** PKCS #8 in PEM. */
  readonly privateKey: string
}

/** A new authority that signs members' certificates and no other authority. */
export async function generateAuthority(now: Instant): Promise<AuthorityKeys> {
  const keys = await webcrypto.subtle.generateKey(SIGNATURE, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    // A name of its own: peers find the issuer by name.
    name: [{ CN: [`Understudy authority ${randomBytes(4).toString('hex')}`] }],
    notBefore: startOf(now),
    notAfter: new Date(plus(now, AUTHORITY_LIFETIME)),
    keys,
    signingAlgorithm: SIGNATURE,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)
  return { certificate: certificate.toString('pem'), privateKey: PemConverter.encode(pkcs8, 'PRIVATE KEY') }
}

/** The key of an authority, for signing and nothing else: it cannot be taken out again. */
export const importSigningKey = (privateKey: string): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', PemConverter.decodeFirst(privateKey), SIGNATURE, false, ['sign'])

export interface MemberCertificate {
  /** PEM. */
  readonly certificate: string
  readonly serial: string
  readonly expiresAt: Date
}

/** A certificate for both ends of a stream. `publicKey` is SubjectPublicKeyInfo in DER. */
export async function signMember(
  authority: { readonly certificate: string; readonly signingKey: webcrypto.CryptoKey },
  member: MemberIdentity,
  publicKey: Uint8Array<ArrayBuffer>,
  now: Instant,
  lifetime: Millis,
): Promise<MemberCertificate> {
  const issuer = new X509Certificate(authority.certificate)
  const certificate = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: [{ CN: [member.instance] }],
    issuer: issuer.subjectName,
    notBefore: startOf(now),
    notAfter: new Date(Math.min(plus(now, lifetime), issuer.notAfter.getTime())),
    publicKey,
    signingKey: authority.signingKey,
    signingAlgorithm: SIGNATURE,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension([{ type: 'url', value: memberUri(member) }]),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return {
    certificate: certificate.toString('pem'),
    serial: certificate.serialNumber,
    expiresAt: certificate.notAfter,
  }
}

const startOf = (now: Instant): Date => new Date(plus(now, millis(-CERTIFICATE_BACKDATE)))

/** 127 random bits: positive, and never the same twice. */
function newSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = (bytes.readUInt8(0) & 0x7f) | 0x40
  return bytes.toString('hex')
}
