import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import type { CertificateRequest } from '@understudy/shared/protocol/link'
import { certificateRequestText, type MemberIdentity } from '@understudy/shared/protocol/member-identity'

/**
 * The public key of a request, once it is certain that this very member has the private one.
 * @throws AppError `input_invalid` when it is no P-256 key, `forbidden` when the proof is not right
 */
export function provenKey(member: MemberIdentity, request: CertificateRequest): KeyObject {
  const key = parseKey(request.publicKey)
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw new AppError('input_invalid', 'a certificate is issued for a P-256 key only', {
      hint: 'Install the agent of the same version as the coordinator.',
    })
  const text = certificateRequestText(member, request.publicKey)
  if (!verify('sha256', Buffer.from(text), key, Buffer.from(request.signature, 'base64')))
    throw new AppError(
      'forbidden',
      `the request is not signed by ${member.instance} with the key it is for`,
      {
        hint: 'Install the agent of the same version as the coordinator.',
      },
    )
  return key
}

function parseKey(publicKey: string): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' })
  } catch (cause) {
    throw new AppError('input_invalid', `the public key cannot be read (${messageOf(cause)})`, {
      hint: 'Install the agent of the same version as the coordinator.',
      cause,
    })
  }
}
