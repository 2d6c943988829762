import { AppError, messageOf } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import { createDirectoryStore } from './directory-store.ts'
import type { ObjectStore } from './object-store.ts'
import { createS3Store, type S3Sdk } from './s3-store.ts'
import { parseLocation } from './store-location.ts'

export interface StoreSettings {
  readonly snapshot_store?: string | undefined
  readonly snapshot_endpoint?: string | undefined
  readonly snapshot_region?: string | undefined
  readonly snapshot_path_style: boolean
}

/**
 * Opens the store that the settings name. The SDK is loaded only for S3: an agent without it does not pay its memory.
 * @throws AppError `config_invalid` when none is named, or the SDK is not there
 */
export async function openStore(settings: StoreSettings, clock: Clock): Promise<ObjectStore> {
  const { snapshot_store: text, snapshot_endpoint: endpoint, snapshot_region: region } = settings
  if (text === undefined)
    throw new AppError('config_invalid', 'no snapshot store is set', {
      hint: 'Set snapshot_store to s3://bucket/prefix or to a directory (docs/snapshots.md).',
    })
  const location = parseLocation(text)
  if (location.kind === 'directory') return createDirectoryStore(location.path)
  const { bucket, prefix } = location
  return createS3Store(
    await loadSdk(),
    { bucket, prefix, endpoint, region, pathStyle: settings.snapshot_path_style },
    clock,
  )
}

async function loadSdk(): Promise<S3Sdk> {
  try {
    return await import('./s3-sdk.ts')
  } catch (cause) {
    throw new AppError('config_invalid', `the S3 part of the agent cannot be loaded (${messageOf(cause)})`, {
      hint: 'Put agent-s3.js of the same build beside agent.js.',
      cause,
    })
  }
}
