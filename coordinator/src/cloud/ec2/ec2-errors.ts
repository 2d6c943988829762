import { AppError, systemCodeOf } from '@understudy/shared/core/app-error'

/** By EC2's, STS's and the price list's error codes, https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html */
const busy = new Set([
  'RequestLimitExceeded',
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'TooManyRequestsException',
  'EC2ThrottledException',
  'ServiceUnavailable',
  'Unavailable',
  'InternalError',
  'InternalFailure',
  'InternalErrorException',
  'RequestTimeout',
  'TimeoutError',
  'AbortError',
])
const denied = new Set([
  'UnauthorizedOperation',
  'AuthFailure',
  'AccessDenied',
  'AccessDeniedException',
  'Blocked',
  'InvalidClientTokenId',
  'UnrecognizedClientException',
  'SignatureDoesNotMatch',
  'ExpiredToken',
  'ExpiredTokenException',
  'RequestExpired',
  'OptInRequired',
  'CredentialsProviderError',
])
/** The token of a page is good for a while only; the question has to be asked again from its start. */
const expiredPage = new Set(['InvalidNextToken', 'InvalidNextTokenException', 'ExpiredNextTokenException'])
const network = /^(E[A-Z]+|UND_ERR_\w+)$/

/**
 * What the SDK threw, as one of ours: `unavailable`, `forbidden` or `input_invalid`. An answer that could not be read, cut off or
 * not EC2's at all, is `unavailable` and may be whole next time.
 */
export function toAppError(cause: unknown, what: string): AppError {
  const name = nameOf(cause)
  const status = statusOf(cause)
  if (denied.has(name) || status === 401)
    return new AppError('forbidden', `AWS does not allow ${what} (${name})`, {
      hint: "Check the coordinator's credentials, its clock and its IAM policy: ec2:Describe* and pricing:GetProducts are needed.",
      cause,
    })
  if (busy.has(name) || network.test(systemCodeOf(cause) ?? '') || (status ?? 0) >= 500)
    return unavailable(`${what} did not succeed (${systemCodeOf(cause) ?? name})`, cause)
  if (expiredPage.has(name))
    return unavailable(`${what} was interrupted: the next page is gone`, cause, false)
  if (status === undefined || status < 300)
    return unavailable(`the answer to ${what} could not be read: it was cut off or is not from AWS`, cause)
  return new AppError('input_invalid', `AWS refuses ${what} (${name})`, {
    hint: 'Check the region and the instance types that were asked for.',
    cause,
  })
}

/** An answer that is well-formed and still says nothing. */
export const emptyAnswer = (what: string): AppError =>
  unavailable(
    `the answer to ${what} has nothing of what was asked for: is a proxy answering in place of AWS?`,
  )

const unavailable = (message: string, cause?: unknown, retryable = true): AppError =>
  new AppError('unavailable', message, {
    retryable,
    hint: 'The last good data stays in use. Check the connection to AWS if this goes on.',
    cause,
  })

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : 'unknown')

function statusOf(error: unknown): number | undefined {
  const { $metadata } = (error ?? {}) as { $metadata?: { httpStatusCode?: unknown } }
  return typeof $metadata?.httpStatusCode === 'number' ? $metadata.httpStatusCode : undefined
}
