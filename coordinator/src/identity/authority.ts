import { createPrivateKey, X509Certificate } from 'node:crypto'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import type { Clock, Millis } from '@understudy/shared/core/time'
import type { CertificateRequest } from '@understudy/shared/protocol/link'
import type { MemberIdentity } from '@understudy/shared/protocol/member-identity'
import type { Kysely, Schema } from '../storage/database.ts'
import {
  type AuthorityKeys,
  generateAuthority,
  importSigningKey,
  type MemberCertificate,
  signMember,
} from './authority-certificate.ts'
import { provenKey } from './proof.ts'

/** The first and only one, for now. */
const FIRST = 1

/** Says who is who between agents. Every coordinator on one database is the same authority. */
export interface Authority {
  /** What agents believe, in PEM. */
  readonly certificates: readonly string[]
  /**
   * A certificate for a member whose name the caller has made sure of.
   * @throws AppError `input_invalid`, `forbidden`
   */
  issue(member: MemberIdentity, request: CertificateRequest): Promise<MemberCertificate>
}

/**
 * Makes the authority at the very first start, and finds it at every other one. Of two coordinators that start at the
 * same time, both take the one that was written first.
 * @throws AppError `state_unreadable`
 */
export async function openAuthority(db: Kysely<Schema>, clock: Clock, lifetime: Millis): Promise<Authority> {
  const known = await readKeys(db)
  if (!known) await writeKeys(db, clock, await generateAuthority(clock.now()))
  const keys = known ?? (await readKeys(db))
  if (!keys) throw unreadable('its row is gone')
  const { certificate } = keys
  assertPair(keys)
  const signingKey = await importSigningKey(keys.privateKey)
  return {
    certificates: [certificate],
    issue(member, request) {
      const publicKey = new Uint8Array(provenKey(member, request).export({ type: 'spki', format: 'der' }))
      return signMember({ certificate, signingKey }, member, publicKey, clock.now(), lifetime)
    },
  }
}

async function readKeys(db: Kysely<Schema>): Promise<AuthorityKeys | undefined> {
  const row = await db
    .selectFrom('certificate_authorities')
    .select(['certificate', 'private_key'])
    .where('id', '=', FIRST)
    .executeTakeFirst()
  return row && { certificate: row.certificate, privateKey: row.private_key }
}

async function writeKeys(db: Kysely<Schema>, clock: Clock, keys: AuthorityKeys): Promise<void> {
  await db
    .insertInto('certificate_authorities')
    .values({
      id: FIRST,
      certificate: keys.certificate,
      private_key: keys.privateKey,
      created_at: clock.now(),
    })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute()
}

function assertPair({ certificate, privateKey }: AuthorityKeys): void {
  let fits: boolean
  try {
    fits = new X509Certificate(certificate).checkPrivateKey(createPrivateKey(privateKey))
  } catch (error) {
    throw unreadable(messageOf(error))
  }
  if (!fits) throw unreadable('its key belongs to another certificate')
}

const unreadable = (why: string): AppError =>
  new AppError('state_unreadable', `the certificate authority in the database cannot be used (${why})`, {
    hint: 'Restore the table certificate_authorities from a backup. With that table emptied a new authority is made, and no agent can reach another until both have certificates of it.',
  })
