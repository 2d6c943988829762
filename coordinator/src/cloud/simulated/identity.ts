import {
  createPrivateKey,
  createPublicKey,
  createSign,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto'
import type { Instant } from '@understudy/shared/core/time'
import type { Pool } from '@understudy/shared/market/pool'
import { regionOf } from '@understudy/shared/market/pool'

/** Signs identity documents as a region does: RSA with SHA-256 over the exact text. */
export interface IdentitySigner {
  /** What a coordinator must trust, in PEM. */
  readonly publicKey: string
  sign(instance: { instanceId: string; pool: Pool; privateIp: string; launchedAt: Instant }): {
    document: string
    signature: string
  }
}

/** @param pem the region's private key; a new one by default */
export function createIdentitySigner(pem: string = newPrivateKey()): IdentitySigner {
  const privateKey = createPrivateKey(pem)
  return {
    publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString(),
    sign: (instance) => {
      const document = documentOf(instance)
      return { document, signature: signatureOf(document, privateKey) }
    },
  }
}

export const newPrivateKey = (): string =>
  generateKeyPairSync('rsa', { modulusLength: 2048 })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString()

/** Spaces around the colon as AWS prints them: a document that is parsed and written again has another signature. */
function documentOf({
  instanceId,
  pool,
  privateIp,
  launchedAt,
}: Parameters<IdentitySigner['sign']>[0]): string {
  const fields: Record<string, unknown> = {
    accountId: '123456789012',
    architecture: 'x86_64',
    availabilityZone: pool.availabilityZone,
    billingProducts: null,
    devpayProductCodes: null,
    marketplaceProductCodes: null,
    imageId: 'ami-0123456789abcdef0',
    instanceId,
    instanceType: pool.instanceType,
    kernelId: null,
    pendingTime: new Date(launchedAt).toISOString().replace(/\.\d+Z$/, 'Z'),
    privateIp,
    ramdiskId: null,
    region: regionOf(pool.availabilityZone),
    version: '2017-09-30',
  }
  const lines = Object.entries(fields).map(([key, value]) => `  "${key}" : ${JSON.stringify(value)}`)
  return `{\n${lines.join(',\n')}\n}`
}

/** Base64 in lines of 64, as the service gives it. */
function signatureOf(document: string, key: KeyObject): string {
  const text = createSign('RSA-SHA256').update(document).sign(key, 'base64')
  return text.replace(/(.{64})/g, '$1\n').trim()
}
