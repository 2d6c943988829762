import { AppError, type ErrorCode } from '@understudy/shared/core/app-error'
import { childOf, parseXml, textOf } from './xml.ts'

/** What EC2 answers when it does not do what was asked. Source: "Error codes for the Amazon EC2 API". */
export interface Ec2Failure {
  readonly status: number
  /** EC2's own, such as `UnauthorizedOperation`; '' where the answer has none. */
  readonly code: string
}

interface Meaning {
  readonly is: ErrorCode
  readonly retryable: boolean
  readonly hint: string
}

const notAllowed: Meaning = {
  is: 'forbidden',
  retryable: false,
  hint: 'Allow the action ec2:DescribeSpotPriceHistory on every resource (*) in a policy of the role of this instance.',
}
const notBelieved: Meaning = {
  is: 'unauthenticated',
  retryable: true,
  hint: 'The credentials of the role are read anew. If it stays, check the clock of this instance (chronyc tracking) and that the role exists.',
}
const blocked: Meaning = {
  is: 'forbidden',
  retryable: false,
  hint: 'The account may not use EC2 in this region; see its notices in the AWS console.',
}
const throttled: Meaning = {
  is: 'unavailable',
  retryable: true,
  hint: 'The account asks EC2 too often; the agent waits and tries again by itself.',
}
const down: Meaning = {
  is: 'unavailable',
  retryable: true,
  hint: 'EC2 has a problem; the agent tries again by itself.',
}
const wrong: Meaning = {
  is: 'input_invalid',
  retryable: false,
  hint: 'Check alternative_types: every name must be an instance type.',
}

const meanings: Readonly<Record<string, Meaning>> = {
  UnauthorizedOperation: notAllowed,
  AccessDenied: notAllowed,
  AccessDeniedException: notAllowed,
  AuthFailure: notBelieved,
  ExpiredToken: notBelieved,
  InvalidClientTokenId: notBelieved,
  MissingAuthenticationToken: notBelieved,
  RequestExpired: notBelieved,
  SignatureDoesNotMatch: notBelieved,
  UnrecognizedClientException: notBelieved,
  Blocked: blocked,
  OptInRequired: blocked,
  PendingVerification: blocked,
  RequestLimitExceeded: throttled,
  Throttling: throttled,
  ThrottlingException: throttled,
  InternalError: down,
  InternalFailure: down,
  ServiceUnavailable: down,
  Unavailable: down,
  InvalidParameter: wrong,
  InvalidParameterCombination: wrong,
  InvalidParameterValue: wrong,
}

/** These may also mean that the clock of this machine is wrong. */
const ABOUT_TIME: ReadonlySet<string> = new Set(['AuthFailure', 'RequestExpired', 'SignatureDoesNotMatch'])

export const mayBeTheClock = ({ code }: Ec2Failure): boolean => ABOUT_TIME.has(code)
export const mayBeTheCredentials = (failure: Ec2Failure): boolean => meaningOf(failure) === notBelieved

/** `<Response><Errors><Error><Code>…`, as EC2 says it; anything else has no code. */
export function failureOf(status: number, body: string): Ec2Failure {
  try {
    const errors = childOf(parseXml(body), 'Errors')
    const error = errors && childOf(errors, 'Error')
    return { status, code: (error && textOf(error, 'Code'))?.slice(0, 80) ?? '' }
  } catch {
    return { status, code: '' }
  }
}

export function toAppError(failure: Ec2Failure, action: string, who: string): AppError {
  const { is, retryable, hint } = meaningOf(failure)
  const said = failure.code === '' ? `answers ${failure.status}` : `answers ${failure.code}`
  const message =
    is === 'forbidden' && failure.code !== ''
      ? `${who} may not call ec2:${action} (${failure.code})`
      : `EC2 ${said} to ec2:${action}`
  return new AppError(is, message, { hint, retryable, facts: { ec2: failure.code } })
}

function meaningOf({ status, code }: Ec2Failure): Meaning {
  const known = meanings[code]
  if (known) return known
  if (status === 429) return throttled
  if (status >= 500) return down
  if (code === '' && status === 403) return notAllowed
  return {
    is: 'unavailable',
    retryable: false,
    hint: 'Check ec2_endpoint, and that it is the EC2 API of this region.',
  }
}
