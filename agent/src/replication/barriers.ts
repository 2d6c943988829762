import { AppError } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Gate } from './gate.ts'
import type { OutgoingFlow } from './outgoing-flow.ts'
import { type Key, type ReadonlyTree, treeDigest } from './state-tree.ts'

/** Names that a barrier may leave out. */
const EXCEPTED_NAMES = 1000

/** Asks a replica whether its tree is the same as ours, everything up to the last batch being in place. */
export interface Barriers {
  /**
   * Throws AppError `conflict` when it is not. Nothing is asked where too many names are left out. When `tolerant`
   * extended attributes are left out as well: those that could not be set over there stop nothing.
   */
  ask(except: readonly Key[], signal: AbortSignal, tolerant: boolean): Promise<void>
  onAnswer(id: number, equal: boolean): void
  /** What is not answered is asked again over a new connection. */
  askAgain(): void
}

interface BarrierParts {
  readonly instance: InstanceId
  readonly tree: ReadonlyTree
  readonly xattrs: boolean
  readonly gate: Gate
  readonly flow: Pick<OutgoingFlow, 'say' | 'seq'>
}

export function createBarriers({ instance, tree, xattrs: canSet, gate, flow }: BarrierParts): Barriers {
  let asked: Parameters<OutgoingFlow['say']>[0] | undefined
  let last = 0
  const answers = new Map<number, boolean>()

  return {
    async ask(except, signal, tolerant) {
      if (except.length > EXCEPTED_NAMES) return
      const xattrs = canSet && !tolerant
      last += 1
      const id = last
      const digest = treeDigest(tree, { except: new Set(except), xattrs })
      asked = { type: 'barrier', id, seq: flow.seq, digest, except: [...except], xattrs }
      flow.say(asked)
      try {
        await gate.until(() => answers.has(id), signal)
      } finally {
        asked = undefined
      }
      if (answers.get(id)) return
      throw new AppError('conflict', `the tree on ${instance} differs although every batch arrived`, {
        hint: 'Something else writes into the state directories of the replica, or extended attributes could not be set there (replication.xattrs_failed in its log). It is compared again in full.',
        retryable: true,
      })
    },
    onAnswer(id, equal) {
      answers.set(id, equal)
      gate.wake()
    },
    askAgain() {
      if (asked) flow.say(asked)
    },
  }
}
