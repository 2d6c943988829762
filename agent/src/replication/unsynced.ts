import { isUtf8 } from 'node:buffer'
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
  /** Something may be mounted below a state directory. */
  function oneForEachDevice(keys: readonly Key[]): Buffer[] {
    const paths = new Map<bigint, Buffer>()
    for (const key of keys) {
      const path = roots.pathOf(key)
      const stat = statOf(path)
      // What is not a directory may be a pipe by now, which would be waited for.
      if (stat && (stat.kind === 'dir' || stat.kind === 'file')) paths.set(stat.device, path)
    }
    for (const directory of roots.directories) {
      const path = Buffer.from(directory)
      const stat = statOf(path)
      if (stat) paths.set(stat.device, path)
    }
    return [...paths.values()]
  }

  return {
    add: (key) => void names.add(key),
    remove(key) {
      names.delete(key)
      names.add(parentOf(key))
    },
    async sync() {
      const mine = [...names]
      if (mine.length > AT_ONCE && (await syncFileSystems(oneForEachDevice(mine)))) {
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
function syncFileSystems(paths: readonly Buffer[]): Promise<boolean> {
  // Arguments of a process are UTF-8, names need not be: those are synced one by one.
  if (paths.some((path) => !isUtf8(path))) return Promise.resolve(false)
  return new Promise((resolve) => {
    const child = spawn('sync', ['-f', '--', ...paths.map(String)], { stdio: 'ignore' })
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
