import { z } from 'zod'
import { countSchema, epochSchema, instanceIdSchema } from './primitives.ts'
import { isConfined } from './replication.ts'

/** Text frames of the state stream; see replication.ts. */

/** A name below a state directory, as bytes in a latin1 string. */
const pathSchema = z
  .string()
  .min(1)
  .max(4096)
  .refine(isConfined, { error: 'the name leads outside the state directory, or is not of bytes' })

/** Part of a file: root, path, offset, length. */
const rangeSchema = z.tuple([z.int().min(0).max(255), pathSchema, countSchema, countSchema])

export const codecSchema = z.enum(['zstd', 'deflate'])
export type Codec = z.infer<typeof codecSchema>

/** From the replica. */
export const replicaMessageSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('join'),
    protocol: z.int().positive(),
    epoch: epochSchema,
    instanceId: instanceIdSchema,
    /** Number of roots: the state directories, and the agent's own record. */
    roots: z.int().min(1).max(65),
    /** What it can decompress, beside plain bodies. A codec that is not known is one that is not used. */
    codecs: z.array(z.string().max(20)).max(16),
    /** It holds a whole copy, which must not become a mixture where that can be avoided. */
    whole: z.boolean(),
    /** It can set extended attributes. */
    xattrs: z.boolean(),
    /** The stream that it has a part of, and the last batch of it that is in its journal or in place. */
    resume: z.object({ stream: z.uuid(), seq: countSchema }).nullable(),
  }),
  z.object({
    type: z.literal('ack'),
    /** Everything up to here is on disk here. */
    durable: countSchema,
    /** Everything up to here is taken: it need not be sent again after a break. */
    taken: countSchema,
  }),
  /** `seq` could not be taken; what was there before is untouched. */
  z.object({
    type: z.literal('nack'),
    seq: countSchema,
    code: z.enum(['disk_full', 'protocol', 'internal']),
    message: z.string().max(500),
  }),
  z.object({
    type: z.literal('barrier-reached'),
    id: countSchema,
    /** The digests of both trees are the same. */
    equal: z.boolean(),
  }),
  /** Answer to `verify`: whether what is on disk has this digest. */
  z.object({ type: z.literal('verified'), id: countSchema, equal: z.boolean() }),
])
export type ReplicaMessage = z.infer<typeof replicaMessageSchema>

/** From the primary. */
export const primaryMessageSchema = z.discriminatedUnion('type', [
  /** `resumed`: go on after the batch that was named; else the replica shows its manifest. */
  z.object({ type: z.literal('accepted'), epoch: epochSchema, stream: z.uuid(), resumed: z.boolean() }),
  z.object({ type: z.literal('refused'), code: z.string().max(60), message: z.string().max(500) }),
  /** How much there is to send until the replica has a whole copy. */
  z.object({ type: z.literal('total'), bytes: countSchema, files: countSchema }),
  /** With everything up to `seq` in place the replica has a whole copy. */
  z.object({ type: z.literal('whole'), seq: countSchema }),
  /** Put everything up to `seq` in place, sync it to disk, and compare. */
  z.object({
    type: z.literal('barrier'),
    id: countSchema,
    seq: countSchema,
    digest: z.string().max(128),
    /** Names that the primary cannot read, `<root>/<path>`: they are left out of the digest. */
    except: z.array(z.string().max(4100)).max(1024),
    /** Extended attributes are part of the digest. */
    xattrs: z.boolean(),
  }),
  /** With everything up to `seq` in place, read these parts from disk: is this their SHA-256, one after another? */
  z.object({
    type: z.literal('verify'),
    id: countSchema,
    seq: countSchema,
    ranges: z.array(rangeSchema).min(1).max(1024),
    sha256: z.string().length(64),
  }),
  /** Read these files again from disk and show what they hold, as a manifest. */
  z.object({
    type: z.literal('reread'),
    files: z
      .array(z.tuple([z.int().min(0).max(255), pathSchema]))
      .min(1)
      .max(1024),
  }),
])
export type PrimaryMessage = z.infer<typeof primaryMessageSchema>
