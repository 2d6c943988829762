import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  X509Certificate,
} from 'node:crypto'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { between, type Instant, instant, type Millis, millis, plus } from '@understudy/shared/core/time'
import type { CertificateRequest } from '@understudy/shared/protocol/link'
import {
  CERTIFICATE_BACKDATE,
  certificateRequestText,
  type MemberIdentity,
  parseMemberUri,
} from '@understudy/shared/protocol/member-identity'

/** What an instance shows to its peers, and what it believes of them. All of it PEM. */
export interface Credentials {
  readonly key: string
  readonly certificate: string
  readonly authority: readonly string[]
}

/** Credentials that were found to be those of this instance, with the time they are good for. */
export interface CheckedCredentials extends Credentials {
  readonly notBefore: Instant
  readonly notAfter: Instant
}

/** Whose certificate it is. A certificate with any other name, or a further one, is nobody's. */
export function memberOf(certificate: X509Certificate): MemberIdentity | undefined {
  const { subjectAltName } = certificate
  return subjectAltName?.startsWith('URI:') ? parseMemberUri(subjectAltName.slice(4)) : undefined
}

/** P-256, because every part of TLS 1.3 must know it. */
export const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey

/** Asks for a certificate for that key; the key itself stays here. */
export function toRequest(self: MemberIdentity, key: KeyObject): CertificateRequest {
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' }).toString('base64')
  const text = certificateRequestText(self, publicKey)
  return {
    type: 'certificate-request',
    publicKey,
    signature: sign('sha256', Buffer.from(text), key).toString('base64'),
  }
}

/**
 * Everything but the time: the certificate is for this instance and this key, and one of the authorities signed it.
 * @throws AppError `protocol` with what is wrong
 */
export function checkCredentials(self: MemberIdentity, credentials: Credentials): CheckedCredentials {
  const certificate = parse(credentials.certificate)
  const authorities = credentials.authority.map(parse)
  const member = memberOf(certificate)
  if (member?.agent !== self.agent || member.instance !== self.instance)
    throw unusable(`it is for ${certificate.subjectAltName ?? 'nobody'}`)
  if (!certificate.checkPrivateKey(createPrivateKey(credentials.key))) throw unusable('it is for another key')
  const issued = authorities.some(
    (authority) =>
      authority.ca && certificate.checkIssued(authority) && certificate.verify(authority.publicKey),
  )
  if (!issued) throw unusable('no authority that came with it has signed it')
  return {
    ...credentials,
    notBefore: instant(certificate.validFromDate.getTime()),
    notAfter: instant(certificate.validToDate.getTime()),
  }
}

function parse(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw unusable(messageOf(error))
  }
}

const unusable = (why: string): AppError =>
  new AppError('protocol', `the certificate of this instance cannot be used: ${why}`, {
    hint: 'Install the agent of the same version as the coordinator; a new certificate is asked for.',
    retryable: true,
  })

/** By the clock of this machine. */
export const isValidAt = ({ notBefore, notAfter }: CheckedCredentials, now: Instant): boolean =>
  notBefore <= now && now < notAfter

const lifetimeOf = ({ notBefore, notAfter }: CheckedCredentials): Millis =>
  millis(between(notBefore, notAfter) - CERTIFICATE_BACKDATE)

/** A third of the lifetime has passed: the rest is for a coordinator that is away. */
export const renewalOf = (credentials: CheckedCredentials): Instant =>
  plus(credentials.notAfter, millis((-lifetimeOf(credentials) * 2) / 3))

/** The last third: renewal has failed for a while, and somebody should look. */
export const isRunningOut = (credentials: CheckedCredentials, now: Instant): boolean =>
  between(now, credentials.notAfter) < lifetimeOf(credentials) / 3
