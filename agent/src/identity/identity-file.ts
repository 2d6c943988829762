import { existsSync, readFileSync } from 'node:fs'
import { messageOf } from '@understudy/shared/core/app-error'
import type { MemberIdentity } from '@understudy/shared/protocol/member-identity'
import type { Logger } from 'pino'
import { z } from 'zod'
import { writeDurably } from '../replication/copy-mark.ts'
import { type CheckedCredentials, type Credentials, checkCredentials } from './credentials.ts'

const credentialsSchema = z.object({
  key: z.string(),
  certificate: z.string(),
  authority: z.array(z.string()).min(1),
})

/**
 * What was kept from before a restart; undefined when there is nothing that this instance can use, since it can have
 * new credentials at its next connection.
 */
export function readCredentials(
  path: string,
  self: MemberIdentity,
  log: Logger,
): CheckedCredentials | undefined {
  if (!existsSync(path)) return undefined
  try {
    return checkCredentials(self, credentialsSchema.parse(JSON.parse(readFileSync(path, 'utf8'))))
  } catch (error) {
    log.warn({ event: 'identity.file_unusable', path, why: messageOf(error) })
    return undefined
  }
}

/** Readable by the agent's user only: it holds the private key. */
export const saveCredentials = (path: string, { key, certificate, authority }: Credentials): Promise<void> =>
  writeDurably(path, JSON.stringify({ key, certificate, authority }))
