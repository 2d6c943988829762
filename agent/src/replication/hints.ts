import { type FSWatcher, watch } from 'node:fs'
import type { StateRoots } from './state-files.ts'
import { type Key, keyOf, splitKey } from './state-tree.ts'

/** More directories than this are not watched; the stat scan finds their changes. */
const MAX_WATCHED = 2000

/**
 * Tells early where something may have changed. Watchers lose events without saying so, so nothing may depend on a
 * hint: it only brings the next look forward.
 */
export interface Hints {
  /** Watches exactly these directories from now on. */
  watchOnly(directories: ReadonlySet<Key>): void
  /** Directories that are not watched, because there are too many or the system has no watch left. */
  readonly unwatched: number
  close(): void
}

export function createHints(roots: StateRoots, onHint: (key: Key) => void): Hints {
  const watchers = new Map<Key, FSWatcher>()
  let unwatched = 0

  const drop = (key: Key) => {
    watchers.get(key)?.close()
    watchers.delete(key)
  }

  const add = (key: Key): boolean => {
    const { root, path } = splitKey(key)
    const below = (name: string) => keyOf(root, path === '' ? name : `${path}/${name}`)
    try {
      const watcher = watch(roots.pathOf(key), { persistent: false, encoding: 'buffer' }, (_, name) =>
        onHint(name ? below(name.toString('latin1')) : key),
      )
      watcher.on('error', () => drop(key))
      watchers.set(key, watcher)
      return true
    } catch {
      // Vanished meanwhile, or no watch left: the scan finds what changes here.
      return false
    }
  }

  return {
    watchOnly(directories) {
      for (const key of watchers.keys()) if (!directories.has(key)) drop(key)
      unwatched = 0
      for (const key of directories)
        if (!watchers.has(key) && (watchers.size >= MAX_WATCHED || !add(key))) unwatched += 1
    },
    get unwatched() {
      return unwatched
    },
    close() {
      for (const key of [...watchers.keys()]) drop(key)
    },
  }
}
