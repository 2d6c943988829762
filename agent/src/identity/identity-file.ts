import { existsSync, readFileSync } from 'node:fs'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
import type { MemberIdentity } from '@understudy/shared/protocol/member-identity'
import type { Logger } from 'pino'
import { z } from 'zod'
import { writeDurably } from '../replication/copy-mark.ts'
import { type CheckedCredentials, type Credentials, checkCredentials, isValidAt } from './credentials.ts'

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
    return load(path, self)
  } catch (error) {
    log.warn({ event: 'identity.file_unusable', path, why: messageOf(error) })
    return undefined
  }
}

/** Readable by the agent's user only: it holds the private key. */
export const saveCredentials = (path: string, { key, certificate, authority }: Credentials): Promise<void> =>
  writeDurably(path, JSON.stringify({ key, certificate, authority }))

/** What is kept, in a line for people. @throws AppError `unavailable` when it cannot be used now */
export function describeCredentials(path: string, self: MemberIdentity, now: Instant): string {
  if (!existsSync(path)) return 'it comes with the first connection to the coordinator'
  let kept: CheckedCredentials
  try {
    kept = load(path, self)
  } catch (cause) {
    throw new AppError('unavailable', `${path} cannot be used (${messageOf(cause)})`, {
      hint: 'Nothing to do if the agent is connected to the coordinator: it gets another one.',
      cause,
    })
  }
  const span = `${new Date(kept.notBefore).toISOString()} to ${new Date(kept.notAfter).toISOString()}`
  if (isValidAt(kept, now)) return `valid from ${span}`
  throw new AppError('unavailable', `valid from ${span}, and not now`, {
    hint: 'See whether the clock of this instance is right, and the agent connected to the coordinator, which renews it.',
  })
}

const load = (path: string, self: MemberIdentity): CheckedCredentials =>
  checkCredentials(self, credentialsSchema.parse(JSON.parse(readFileSync(path, 'utf8'))))
