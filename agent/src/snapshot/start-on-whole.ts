import { messageOf } from '@understudy/shared/core/app-error'
import type { Hooks } from '../role/hooks.ts'
import type { Recovery } from './recovery.ts'

/** Hooks that start nothing on a part of a snapshot: what is unfinished is put in place first. */
export function startOnWhole(hooks: Hooks, recovery: Recovery): Hooks {
  async function bringBack(signal: AbortSignal): Promise<string | undefined> {
    const stop = () => void recovery.stop()
    signal.addEventListener('abort', stop, { once: true })
    try {
      await recovery.finish()
      return signal.aborted ? 'something else was to be done meanwhile' : undefined
    } catch (error) {
      return `the newest snapshot could not be put in place: ${messageOf(error)}`
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
  return {
    ...hooks,
    async run(hook, context, signal) {
      const why = hook === 'start' && recovery.unfinished ? await bringBack(signal) : undefined
      return why === undefined ? hooks.run(hook, context, signal) : { ok: false, why, output: '' }
    },
  }
}
