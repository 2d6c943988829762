import type { Logger } from 'pino'
import type { Hooks } from './hooks.ts'

/**
 * Hooks of an agent that is to end as soon as `ending` aborts. From then on a workload that cannot be frozen is stopped
 * instead: it may have ended with its service already, would be stopped a moment later anyway, and can be handed over as
 * well as a frozen one.
 */
export function stopAtEnd(hooks: Hooks, ending: AbortSignal, log: Logger): Hooks {
  return {
    ...hooks,
    async run(hook, facts, signal) {
      const frozen = await hooks.run(hook, facts, signal)
      if (hook !== 'freeze' || frozen.ok || !ending.aborted || signal.aborted) return frozen
      log.warn({ event: 'hook.stopped_instead', why: frozen.why })
      const stopped = await hooks.run('stop', facts, signal)
      if (signal.aborted) return stopped
      const ended = stopped.ok ? stopped : await hooks.kill()
      return ended.ok ? { ...ended, why: `${frozen.why}; it was stopped instead` } : ended
    },
  }
}
