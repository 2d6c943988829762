import type { Logger } from 'pino'
import type { Actuator } from './actuator.ts'

/** Says what was decided, and leaves it at that. */
export const createLogActuator = (log: Logger): Actuator => ({
  name: 'log',
  describe: ({ decision, targetId }) => `write ${decision} for ${targetId} into the log`,
  carryOut({ decisionId, decision, code, targetId, targetPoolId, reason }) {
    log.info({
      event: 'decision.logged',
      decision: decisionId,
      agent: targetId,
      name: decision,
      code,
      pool: targetPoolId,
      why: reason,
    })
    return Promise.resolve({ status: 'logged', reason: `${decision} was written into the log` })
  },
})
