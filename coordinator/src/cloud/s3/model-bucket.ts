import type { Clock } from '@understudy/shared/core/time'
import type { Bucket } from '../bucket.ts'
import { openS3Bucket } from './s3-bucket.ts'

/** The bucket for the files of models, where the settings name one. */
export async function openModelBucket(
  config: {
    readonly model_store?: string | undefined
    readonly model_store_endpoint?: string | undefined
    readonly model_store_region?: string | undefined
  },
  clock: Clock,
): Promise<Bucket | undefined> {
  const { model_store: location, model_store_endpoint: endpoint, model_store_region: region } = config
  return location === undefined ? undefined : openS3Bucket({ location, endpoint, region, clock })
}
