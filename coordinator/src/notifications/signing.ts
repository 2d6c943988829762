import { createHmac } from 'node:crypto'
import type { Instant } from '@understudy/shared/core/time'

/**
 * Signs as Standard Webhooks 1.0 has it (standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`, one signature for
 * each secret, so that a receiver with the old one and a receiver with the new one both find theirs.
 */
export function signatureHeaders(
  id: string,
  at: Instant,
  body: string,
  secrets: readonly Uint8Array[],
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(at / 1000))
  const sign = (secret: Uint8Array) =>
    `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    ...(secrets.length > 0 ? { 'webhook-signature': secrets.map(sign).join(' ') } : {}),
  }
}

/** 24 to 64 bytes, as base64 with `whsec_` before it; undefined for anything else. */
export function parseSecret(text: string): Uint8Array | undefined {
  const match = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text.trim())
  const bytes = Buffer.from(match?.[1] ?? '', 'base64')
  return bytes.length >= 24 && bytes.length <= 64 ? bytes : undefined
}
