import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { between, type Clock, type Instant, instant, type Millis, plus } from '@understudy/shared/core/time'
import type { InstanceRow, Kysely, Schema } from '../storage/database.ts'

/** Long enough to live through a coordinator that is down over a weekend. */
const LIFETIME = (7 * 24 * 3600 * 1000) as Millis
/** A new one is sent once this little is left. */
const RENEW_BELOW = (6 * 24 * 3600 * 1000) as Millis

export interface Credential {
  readonly credential: string
  readonly expiresAt: Instant
}

/**
 * What an enrolled instance shows at its link: `uc_<instance>_<secret>`, 256 random bits, of which only the SHA-256
 * is kept. Renewed every day over the link; the old one ends when the new one is first used.
 */
export interface Credentials {
  issue(instanceId: string): Promise<Credential>
  find(credential: string): Promise<{ agentId: string; instanceId: string } | undefined>
  /** A new credential when the present one has lived for a while. */
  renewIfDue(instanceId: string): Promise<Credential | undefined>
}

export function createCredentials(db: Kysely<Schema>, clock: Clock): Credentials {
  const fresh = (instanceId: string) => {
    const credential = `uc_${instanceId}_${randomBytes(32).toString('base64url')}`
    return { credential, hash: hashOf(credential), expiresAt: plus(clock.now(), LIFETIME) }
  }
  const rowOf = (instanceId: string) =>
    db.selectFrom('instances').selectAll().where('id', '=', instanceId).executeTakeFirst()

  return {
    async issue(instanceId) {
      const { credential, hash, expiresAt } = fresh(instanceId)
      await db
        .updateTable('instances')
        .set({
          credential_hash: hash,
          credential_expires_at: expiresAt,
          next_credential_hash: null,
          next_credential_expires_at: null,
        })
        .where('id', '=', instanceId)
        .execute()
      return { credential, expiresAt }
    },
    async find(credential) {
      const match = /^uc_(i-[0-9a-z]+)_/.exec(credential)
      const row = match?.[1] ? await rowOf(match[1]) : undefined
      if (!row) return undefined
      const hash = hashOf(credential)
      if (isValid(hash, row.credential_hash, row.credential_expires_at, clock.now())) return toOwner(row)
      if (!isValid(hash, row.next_credential_hash, row.next_credential_expires_at, clock.now()))
        return undefined
      await db
        .updateTable('instances')
        .set({
          credential_hash: row.next_credential_hash,
          credential_expires_at: row.next_credential_expires_at,
          next_credential_hash: null,
          next_credential_expires_at: null,
        })
        .where('id', '=', row.id)
        .execute()
      return toOwner(row)
    },
    async renewIfDue(instanceId) {
      const row = await rowOf(instanceId)
      if (!row?.credential_expires_at) return undefined
      const isFresh = (until: number | null) =>
        until !== null && between(clock.now(), instant(until)) > RENEW_BELOW
      // One that was sent and not used yet stays right: the instance may have no other any more.
      if (isFresh(row.credential_expires_at) || isFresh(row.next_credential_expires_at)) return undefined
      const { credential, hash, expiresAt } = fresh(instanceId)
      await db
        .updateTable('instances')
        .set({ next_credential_hash: hash, next_credential_expires_at: expiresAt })
        .where('id', '=', instanceId)
        .execute()
      return { credential, expiresAt }
    },
  }
}

const hashOf = (credential: string): string => createHash('sha256').update(credential).digest('base64url')

function isValid(hash: string, kept: string | null, until: number | null, now: Instant): boolean {
  if (kept === null || until === null || until <= now) return false
  return timingSafeEqual(Buffer.from(hash), Buffer.from(kept))
}

const toOwner = (row: InstanceRow) => ({ agentId: row.agent_id, instanceId: row.id })
