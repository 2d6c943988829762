import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { systemCodeOf } from '@understudy/shared/core/app-error'
import { syncDirectory } from './durable-files.ts'
import { type StateRoots, statOf } from './state-files.ts'
import { type Key, parentOf } from './state-tree.ts'

/** Above this many names the whole file system is synced at once: one call instead of one for each. */
const AT_ONCE = 200
/** Files that are synced side by side. */
const PARALLEL = 8

/** Names that were changed and are perhaps not on the disk yet. */
export interface Unsynced {
  add(key: Key): void
  /** The name is gone: what remains to be made durable is that. */
  remove(key: Key): void
  sync(): Promise<void>
}

export function createUnsynced(roots: StateRoots): Unsynced {
  const names = new Set<Key>()
  return {
    add: (key) => void names.add(key),
    remove(key) {
      names.delete(key)
      names.add(parentOf(key))
    },
    async sync() {
      const mine = [...names]
      if (mine.length > AT_ONCE && (await syncFileSystems(roots.directories))) {
        for (const key of mine) names.delete(key)
        return
      }
      let next = 0
      const worker = async () => {
        for (let key = mine[next]; key !== undefined; key = mine[next]) {
          next += 1
          await syncOne(roots.pathOf(key))
          names.delete(key)
        }
      }
      await Promise.all(Array.from({ length: PARALLEL }, worker))
    },
  }
}

/** syncfs(2) by way of `sync -f` of the coreutils; false where it is not to be had. */
function syncFileSystems(directories: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn('sync', ['-f', '--', ...directories], { stdio: 'ignore' })
    child.once('error', () => resolve(false))
    child.once('exit', (code) => resolve(code === 0))
  })
}

async function syncOne(path: Buffer): Promise<void> {
  const stat = statOf(path)
  if (stat?.kind === 'dir') return syncDirectory(path)
  if (stat?.kind !== 'file') return
  const handle = await open(path, 'r').catch((error: unknown) => {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw error
  })
  try {
    await handle?.sync()
  } finally {
    await handle?.close()
  }
}
