import { messageOf } from '@understudy/shared/core/app-error'
import type { Logger } from 'pino'
import type { Receiver } from './receivers.ts'

/**
 * Who is told at this moment. The file is the truth: what changes in it, or in the secrets that it names, holds from the next look on,
 * without a restart. A file that cannot be used changes nothing: those of before are told until it can.
 */
export interface ReceiversBook {
  current(): readonly Receiver[]
  /** Why the file as it is now is not in force; null when it is. */
  problem(): string | null
  /** Looks at the file. True when other receivers are in force now. @throws AppError `config_invalid` */
  reload(): boolean
  /** The same for one that nobody waits for: what is wrong goes to the log, once. */
  look(): boolean
}

export function createReceiversBook(parts: {
  readonly initial: readonly Receiver[]
  /** Reads the file anew; undefined where there is none. @throws AppError `config_invalid` */
  readonly read: (() => readonly Receiver[]) | undefined
  readonly log: Logger
}): ReceiversBook {
  const { read, log } = parts
  let receivers = parts.initial
  let problem: string | null = null

  function reload(): boolean {
    if (!read) return false
    let next: readonly Receiver[]
    try {
      next = read()
    } catch (error) {
      const said = messageOf(error)
      if (said !== problem) log.error({ event: 'notification.receivers_invalid', why: said })
      problem = said
      throw error
    }
    problem = null
    const changes = changesOf(receivers, next)
    receivers = next
    if (!changes) return false
    log.info({ event: 'notification.receivers_changed', ...changes })
    return true
  }

  return {
    current: () => receivers,
    problem: () => problem,
    reload,
    look() {
      try {
        return reload()
      } catch {
        // It is in the log, and shown.
        return false
      }
    },
  }
}

/** Their names only: the rest may be secret. Undefined when nothing has changed. */
function changesOf(before: readonly Receiver[], after: readonly Receiver[]) {
  const old = new Map(before.map((receiver) => [receiver.name, fingerprint(receiver)]))
  const names = new Set(after.map(({ name }) => name))
  const added = after.filter(({ name }) => !old.has(name)).map(({ name }) => name)
  const removed = before.filter(({ name }) => !names.has(name)).map(({ name }) => name)
  const changed = after
    .filter((receiver) => old.has(receiver.name) && old.get(receiver.name) !== fingerprint(receiver))
    .map(({ name }) => name)
  return added.length + removed.length + changed.length > 0 ? { added, removed, changed } : undefined
}

const fingerprint = (receiver: Receiver): string =>
  JSON.stringify(receiver, (_, value) => (value instanceof Uint8Array ? [...value] : value))
