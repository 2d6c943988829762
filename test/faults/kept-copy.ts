import { execFile } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Member } from './member.ts'
import type { Scene } from './scene.ts'
import { compareLargeTrees } from './trees.ts'

/** The files of the key-value store. */
const OF_WORKLOAD = /^\d{6}\.log$/

/**
 * Copies the state of the primary before a move, where it is so much that hooks which kept it (`keepTrees`) would run out of time.
 * The answer compares a state with it, but for what the workload itself writes, which the client judges.
 */
export async function keepCopy(scene: Scene): Promise<(of: Member) => Promise<string>> {
  const kept = mkdtempSync(join(scene.primary.directory, 'kept-'))
  // Not at once: the network of the faults is in this process.
  scene.atEnd(() => rm(kept, { recursive: true, force: true }))
  await promisify(execFile)('cp', ['-a', `${scene.primary.state}/.`, kept])
  return async ({ state }) => {
    const { entries, bytes, differences } = await compareLargeTrees(kept, state, OF_WORKLOAD)
    scene.check(differences.length === 0, `the trees differ: ${differences.join('; ')}`)
    return `${entries} entries, ${(bytes / 1024 / 1024).toFixed(1)} MiB equal byte by byte`
  }
}
