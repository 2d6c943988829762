import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { type Instant, instant } from '@understudy/shared/core/time'
import type { Pool } from '@understudy/shared/market/pool'
import { instanceIdSchema } from '@understudy/shared/protocol/primitives'
import { z } from 'zod'

/** What a verified identity document says. */
export interface ProvenIdentity {
  readonly instanceId: string
  readonly pool: Pool
  readonly region: string
  /** The AWS account; null where the document does not say it. */
  readonly accountId: string | null
  readonly privateIp: string | null
  readonly launchedAt: Instant | null
}

/**
 * Checks the signature of an instance identity document: RSA with SHA-256 over its exact text, with the key of the
 * region that the document names. The document is made once, at launch, so a valid one proves what an instance is,
 * not that this caller is it: a join token and the first use of the instance id do that.
 */
export type IdentityVerifier = (document: string, signature: string) => ProvenIdentity

const documentSchema = z.object({
  instanceId: instanceIdSchema,
  instanceType: z.string(),
  availabilityZone: z.string(),
  region: z.string(),
  accountId: z
    .string()
    .regex(/^\d{12}$/)
    .nullish(),
  privateIp: z.string().nullish(),
  pendingTime: z.string().nullish(),
})

/** One key or certificate per region, `<region>.pem`, as AWS publishes them. */
export function loadRegionKeys(directory: string): ReadonlyMap<string, KeyObject> {
  const keys = new Map<string, KeyObject>()
  let names: string[]
  try {
    names = readdirSync(directory).filter((name) => name.endsWith('.pem'))
  } catch (cause) {
    throw new AppError('config_invalid', `the directory of region certificates ${directory} cannot be read`, {
      hint: 'Set identity_certificates to a directory with one <region>.pem per region.',
      cause,
    })
  }
  for (const name of names) {
    try {
      keys.set(name.slice(0, -'.pem'.length), createPublicKey(readFileSync(join(directory, name))))
    } catch (cause) {
      throw new AppError(
        'config_invalid',
        `${join(directory, name)} holds no certificate or key (${messageOf(cause)})`,
        {
          hint: 'It must be the PEM text that AWS publishes for the region ("RSA" signatures).',
          cause,
        },
      )
    }
  }
  return keys
}

/** @throws AppError `unauthenticated` from the verifier, with what to do */
export function createIdentityVerifier(keys: ReadonlyMap<string, KeyObject>): IdentityVerifier {
  return (text, signature) => {
    const document = parseDocument(text)
    const key = keys.get(document.region)
    if (!key)
      throw new AppError('unauthenticated', `there is no certificate of the region ${document.region}`, {
        hint: `Put AWS's certificate of the region into identity_certificates as ${document.region}.pem and restart.`,
      })
    if (!verify('sha256', Buffer.from(text), key, Buffer.from(signature, 'base64')))
      throw new AppError('unauthenticated', 'the signature of the instance identity document is not valid', {
        hint: 'The document must arrive exactly as the metadata service gave it.',
      })
    const { instanceId, instanceType, availabilityZone, region, accountId, privateIp, pendingTime } = document
    const launched = pendingTime ? Date.parse(pendingTime) : Number.NaN
    return {
      instanceId,
      pool: { instanceType, availabilityZone },
      region,
      accountId: accountId ?? null,
      privateIp: privateIp ?? null,
      launchedAt: Number.isFinite(launched) ? instant(launched) : null,
    }
  }
}

function parseDocument(text: string): z.infer<typeof documentSchema> {
  try {
    return documentSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new AppError('input_invalid', 'the instance identity document is not one', { cause })
  }
}
