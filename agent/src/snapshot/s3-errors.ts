import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'

/** What S3 and its SDK say, in our words: by name and status, never by message. */
export function toStoreError(error: unknown, store: string): unknown {
  if (error instanceof AppError) return error
  const cause = error
  const name = error instanceof Error ? error.name : ''
  const status = statusOf(error)
  const known = byName[name]
  if (known) return new AppError(known.code, `${known.what} ${store}`, { hint: known.hint, cause })
  if (status === 401 || status === 403)
    return new AppError('forbidden', `access to ${store} was refused (${name || status})`, {
      hint: 'docs/snapshots.md has the IAM policy that the role of the instance needs.',
      cause,
    })
  if (status === 404 || status === 301)
    return new AppError('not_found', `${store} was not found (${name || status})`, {
      hint: 'Check bucket, snapshot_region and snapshot_endpoint.',
      cause,
    })
  const what = status === undefined ? (systemCodeOf(error) ?? messageOf(error)) : `${name} ${status}`
  return new AppError('unavailable', `${store} did not answer as it should (${what})`, {
    hint: 'Check the network, snapshot_endpoint and the state of the service; it is tried again by itself.',
    retryable: true,
    cause,
  })
}

const byName: Readonly<
  Record<string, { code: 'not_found' | 'forbidden' | 'config_invalid'; what: string; hint: string }>
> = {
  NoSuchBucket: {
    code: 'not_found',
    what: 'there is no bucket',
    hint: 'Make it, or correct snapshot_store.',
  },
  PermanentRedirect: {
    code: 'not_found',
    what: 'another region has the bucket of',
    hint: 'Set snapshot_region to the region of the bucket.',
  },
  CredentialsProviderError: {
    code: 'forbidden',
    what: 'no AWS credentials were found for',
    hint: 'Give the instance a role (docs/snapshots.md), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
  },
}

/** A download that ended early: another try may bring the rest. */
export const isCutOff = (error: unknown): boolean =>
  !(error instanceof AppError) &&
  statusOf(error) === undefined &&
  (systemCodeOf(error) !== undefined || (error instanceof Error && error.name === 'TimeoutError'))

function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('$metadata' in error)) return undefined
  const metadata = error.$metadata
  if (typeof metadata !== 'object' || metadata === null || !('httpStatusCode' in metadata)) return undefined
  return typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined
}
