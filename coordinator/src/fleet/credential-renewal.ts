import { messageOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, hours } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { Credential, Credentials } from './credentials.ts'

const LOOK = hours(1)

/** Gives connected instances new credentials in time. Whom it fails for has days left, and is looked at again. */
export function createCredentialRenewal(parts: {
  readonly credentials: Pick<Credentials, 'renewIfDue'>
  readonly connected: () => readonly InstanceId[]
  readonly send: (instance: InstanceId, renewed: Credential) => void
  readonly clock: Clock
  readonly log: Logger
}): Service {
  const { credentials, connected, send, clock, log } = parts
  return {
    name: 'credential-renewal',
    run: (signal) =>
      everyPeriod(clock, LOOK, signal, async () => {
        for (const instance of connected())
          try {
            const renewed = await credentials.renewIfDue(instance)
            if (renewed) send(instance, renewed)
          } catch (error) {
            log.warn({ event: 'credential.not_renewed', instance, why: messageOf(error) })
          }
      }),
  }
}
