import { isAppError } from '@understudy/shared/core/app-error'
import type { Op } from '@understudy/shared/protocol/replication'
import type { Applier } from './applier.ts'
import { type Key, keyOf } from './state-tree.ts'

/**
 * Puts batches in place that may have been put there before: in part, in full, or with others after them. What an op
 * needs may then be gone because of a later one: it is left out, and the later one makes up for it.
 */
export interface Replay {
  /** @throws AppError `disk_full`; the system's error otherwise */
  apply(ops: readonly Op[]): void
  /** Why an op was refused that nothing later has made up for: these batches do not fit what is on disk. */
  readonly refused: Error | undefined
}

export function createReplay(applier: Applier): Replay {
  /** What an op could not be done to, with the file that it needed, if any. */
  const refused = new Map<Key, { readonly error: Error; readonly needs: Key | undefined }>()

  /** What was to be done to a name, or below it, or with it, does not matter any more. */
  const makeUp = (op: Op, key: Key) => {
    if (op.kind === 'dir' || op.kind === 'write') return
    const isNew = op.kind !== 'file' || op.fresh
    const covers = (name: Key) => (isNew && name === key) || name.startsWith(`${key}/`)
    for (const [name, { needs }] of refused)
      if (covers(name) || (needs !== undefined && covers(needs))) refused.delete(name)
  }

  return {
    apply(ops) {
      applier.apply(ops, (op, apply) => {
        const key = keyOf(op.root, op.path)
        makeUp(op, key)
        try {
          apply()
        } catch (error) {
          if (!isAppError(error, 'protocol')) throw error
          const needs = op.kind === 'link' ? keyOf(op.target.root, op.target.path) : undefined
          refused.set(key, { error, needs })
        }
      })
    },
    get refused() {
      return [...refused.values()][0]?.error
    },
  }
}
