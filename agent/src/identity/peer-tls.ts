import { constants, X509Certificate } from 'node:crypto'
import type { ConnectionOptions, SecureContextOptions, TLSSocket, TlsOptions } from 'node:tls'
import { AppError, systemCodeOf } from '@understudy/shared/core/app-error'
import { type MemberIdentity, memberUri } from '@understudy/shared/protocol/member-identity'
import { type Credentials, memberOf } from './credentials.ts'

/** A stranger has this long to show a certificate, in milliseconds. */
const HANDSHAKE_TIMEOUT = 5000

/** What the listening end asks of whoever dials, whatever certificate it has itself. */
export const listeningTls = {
  requestCert: true,
  rejectUnauthorized: true,
  minVersion: 'TLSv1.3',
  handshakeTimeout: HANDSHAKE_TIMEOUT,
  // Nobody is believed before there are credentials; without the list it would be the system's authorities.
  ca: [],
} as const satisfies TlsOptions

/** What the listening end shows and believes; fit for `setSecureContext`, which leaves open connections alone. */
export const serverTls = ({ key, certificate, authority }: Credentials): SecureContextOptions => ({
  key,
  cert: certificate,
  ca: [...authority],
  minVersion: 'TLSv1.3',
  // A resumed session would be one whose certificate nobody has looked at again.
  secureOptions: constants.SSL_OP_NO_TICKET,
})

/** The dialling end: only our authority counts, and only that one instance will do. */
export const clientTls = (
  { key, certificate, authority }: Credentials,
  expected: MemberIdentity,
): ConnectionOptions => ({
  key,
  cert: certificate,
  ca: [...authority],
  minVersion: 'TLSv1.3',
  rejectUnauthorized: true,
  checkServerIdentity: (_, peer) => {
    const member = memberOf(new X509Certificate(peer.raw))
    if (member?.agent === expected.agent && member.instance === expected.instance) return undefined
    return new AppError(
      'forbidden',
      `the certificate there is that of ${member ? memberUri(member) : 'nobody we know'}, not of ${memberUri(expected)}`,
      {
        hint: 'Another instance answers at the address of the primary: correct replication_advertise on the primary.',
        retryable: true,
      },
    )
  },
})

/** Who has dialled, once the handshake is done; undefined for a certificate that names nobody. */
export function peerOf(socket: TLSSocket): MemberIdentity | undefined {
  const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined
  return certificate && memberOf(certificate)
}

const expired = ['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID', 'ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED']
const strange = [
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
  'ERR_SSL_TLSV1_ALERT_DECRYPT_ERROR',
]

/** What a refused handshake means, for the agent that dialled; everything else is given back as it is. */
export function asPeerError(error: Error): Error {
  const code = systemCodeOf(error) ?? ''
  if (expired.includes(code))
    return new AppError('unavailable', `a certificate of the state stream has expired (${code})`, {
      hint: 'Compare the clocks of both instances, and see whether both are connected to the coordinator: it renews certificates.',
      retryable: true,
      cause: error,
    })
  if (strange.includes(code))
    return new AppError('unavailable', `primary and replica do not know the same authority (${code})`, {
      hint: 'Both get new certificates from the coordinator within seconds of a restart; was its database replaced?',
      retryable: true,
      cause: error,
    })
  return error
}
