import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'

const CHECK = 'Check the network, model_store_endpoint and the state of the service.'

/** What S3 and its SDK say, in our words: by name and status, never by message. */
export function toBucketError(error: unknown, bucket: string): AppError {
  if (error instanceof AppError) return error
  const cause = error
  const name = error instanceof Error ? error.name : ''
  const status = statusOf(error)
  if (name === 'CredentialsProviderError')
    return new AppError('forbidden', `no AWS credentials were found for ${bucket}`, {
      hint: "Give the coordinator's instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
      cause,
    })
  if (status === 401 || status === 403)
    return new AppError('forbidden', `access to ${bucket} was refused (${name || status})`, {
      hint: 'docs/models.md has the IAM policy that the coordinator needs for it.',
      cause,
    })
  if (status === 404 || status === 301)
    return new AppError('not_found', `${bucket} was not found (${name || status})`, {
      hint: 'Check model_store, model_store_region and model_store_endpoint.',
      cause,
    })
  const what = status === undefined ? (systemCodeOf(error) ?? messageOf(error)) : `${name} ${status}`
  return new AppError('unavailable', `${bucket} did not answer as it should (${what})`, {
    hint: CHECK,
    retryable: true,
    cause,
  })
}

export const tooSlow = (bucket: string, limit: number): AppError =>
  new AppError('unavailable', `${bucket} had not answered to the end after ${limit / 1000} s`, {
    hint: CHECK,
    retryable: true,
  })

export const givenUp = (bucket: string): AppError =>
  new AppError('unavailable', `${bucket} is not waited for any longer: the coordinator is ending`, {
    retryable: true,
  })

export const isMissingKey = (error: unknown): boolean => error instanceof Error && error.name === 'NoSuchKey'

export function statusOf(error: unknown): number | undefined {
  const { $metadata } = (error ?? {}) as { $metadata?: { httpStatusCode?: unknown } }
  return typeof $metadata?.httpStatusCode === 'number' ? $metadata.httpStatusCode : undefined
}
