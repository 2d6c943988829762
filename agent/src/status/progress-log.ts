import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, type Millis } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { Replication } from '../replication/replication.ts'

/** Lines in the log of a replica about how far it is. */
export const createProgressLog = (parts: {
  readonly every: Millis
  readonly isReplica: () => boolean
  readonly replication: Replication
  readonly clock: Clock
  readonly log: Logger
}): Service => ({
  name: 'progress-log',
  run: (until) =>
    everyPeriod(parts.clock, parts.every, until, () => {
      const { progress, whole } = parts.replication
      if (parts.isReplica() && progress) parts.log.info({ event: 'replication.progress', whole, ...progress })
    }),
})
