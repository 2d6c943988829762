import { flag, number, type OptionTable, wholeNumber } from '@understudy/shared/core/options'
import { z } from 'zod'
import { parseLocation } from '../snapshot/store-location.ts'

const location = z.string().superRefine((text, context) => {
  try {
    parseLocation(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) })
  }
})

const endpoint = z
  .url({ protocol: /^https?$/, error: 'must be an http or https address' })
  .refine((text) => new URL(text).username === '' && new URL(text).password === '', {
    error: 'must not hold credentials: they come from the role of the instance or AWS_ACCESS_KEY_ID',
  })

/** Settings of snapshots (docs/snapshots.md). */
export const snapshotOptions = {
  snapshot_store: {
    schema: location.optional(),
    env: 'UNDERSTUDY_SNAPSHOT_STORE',
    value: '<place>',
    doc: 'Where snapshots are kept: `s3://bucket/prefix`, or the path of a directory; without it none are made',
  },
  snapshot_interval: {
    schema: number(1, 86_400).default(300),
    env: 'UNDERSTUDY_SNAPSHOT_INTERVAL',
    value: '<seconds>',
    doc: 'How often a primary without a replica makes a snapshot, in seconds',
  },
  snapshot_keep: {
    schema: wholeNumber(1, 10_000).default(24),
    env: 'UNDERSTUDY_SNAPSHOT_KEEP',
    value: '<number>',
    doc: 'How many snapshots are kept; the newest always is',
  },
  snapshot_always: {
    schema: flag().default(false),
    env: 'UNDERSTUDY_SNAPSHOT_ALWAYS',
    doc: 'Snapshots are made while a replica has the state, too',
  },
  snapshot_restore: {
    schema: flag().default(true),
    env: 'UNDERSTUDY_SNAPSHOT_RESTORE',
    doc: 'A new instance that would begin with an empty state begins with the newest snapshot',
  },
  snapshot_endpoint: {
    schema: endpoint.optional(),
    env: 'UNDERSTUDY_SNAPSHOT_ENDPOINT',
    value: '<url>',
    doc: 'Address of an S3-compatible service, if it is not AWS',
  },
  snapshot_region: {
    schema: z
      .string()
      .regex(/^[a-z0-9-]{1,40}$/, 'a region looks like us-east-1')
      .optional(),
    env: 'AWS_REGION',
    value: '<region>',
    doc: 'Region of the bucket',
  },
  snapshot_path_style: {
    schema: flag().default(false),
    env: 'UNDERSTUDY_SNAPSHOT_PATH_STYLE',
    doc: 'The bucket is named in the path, not in the host name, as most other S3-compatible services want it',
  },
} as const satisfies OptionTable
