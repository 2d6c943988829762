import type { OutgoingFlow } from './outgoing-flow.ts'
import { type Key, type StateTree, splitKey } from './state-tree.ts'

/** Lets a replica read files from its disk again that are not what was sent, and takes what it shows for what it has. */
export interface Rereading {
  /** Nothing may be sent before it has shown them all. */
  readonly active: boolean
  begin(keys: readonly Key[]): void
  /** One of the names that it shows. */
  shown(key: Key): void
  /** It has shown everything: what it was asked for and has not shown is not there. */
  end(): void
  /** What is not answered is asked again over a new connection. */
  askAgain(): void
}

export function createRereading(theirs: StateTree, dirty: Set<Key>, say: OutgoingFlow['say']): Rereading {
  let awaited: Set<Key> | undefined

  const ask = (keys: Iterable<Key>) =>
    say({
      type: 'reread',
      files: Array.from(keys, (key) => {
        const { root, path } = splitKey(key)
        return [root, path]
      }),
    })

  return {
    get active() {
      return awaited !== undefined
    },
    begin(keys) {
      awaited = new Set(keys)
      // A file that turns out to be another has its names no more.
      for (const key of keys) for (const link of theirs.linksTo(key)) dirty.add(link)
      ask(keys)
    },
    shown(key) {
      awaited?.delete(key)
      dirty.add(key)
    },
    end() {
      for (const key of awaited ?? []) {
        theirs.remove(key)
        dirty.add(key)
      }
      awaited = undefined
    },
    askAgain() {
      if (awaited) ask(awaited)
    },
  }
}
