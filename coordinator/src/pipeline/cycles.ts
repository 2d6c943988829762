import { isAppError, messageOf } from '@understudy/shared/core/app-error'
import type { Service } from '@understudy/shared/core/service'
import { type Clock, everyPeriod, type Millis, sleep } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import type { Batch } from './batch.ts'

/**
 * Decides for the whole fleet every `period`. Only who owns the database runs services, so that there is one. The first cycle
 * comes after a period: right after a start nothing is known of most agents.
 */
export function createCycles(batch: Batch, period: Millis, clock: Clock, log: Logger): Service {
  async function once(): Promise<void> {
    try {
      const { id, targets, decisions, acted, budget, skipped, durationMs } = await batch.run('schedule')
      log.info({
        event: 'decisions.cycle',
        ...{ cycle: id, agents: targets, decisions, acted, budget },
        ...{ skipped: skipped.length, ms: Math.round(durationMs) },
      })
    } catch (error) {
      if (isAppError(error, 'busy')) return
      log.error({ event: 'decisions.cycle_failed', why: messageOf(error), err: error })
    }
  }
  return {
    name: 'decision-cycles',
    async run(signal) {
      await sleep(clock, period, signal).catch(() => undefined)
      await everyPeriod(clock, period, signal, once)
    },
  }
}
