import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, messageOf } from '@understudy/shared/core/app-error'

/** What is in the state directories apart from the state: emptied for a restore, never the directories themselves. */

/** Where replication, too, puts what it moves aside; `replication` is its directory. */
export const discardedIn = (replication: string): string => join(replication, 'discarded')

/** A file system of its own has this from the beginning. */
const LOST_AND_FOUND = 'lost+found'

/** @throws AppError `state_unreadable` */
export async function isEmpty(directory: string): Promise<boolean> {
  for (const name of await namesIn(directory)) {
    if (name.toString() !== LOST_AND_FOUND) return false
    const inside = await readdir(join(directory, LOST_AND_FOUND)).catch(() => [''])
    if (inside.length > 0) return false
  }
  return true
}

/**
 * Moves everything in `from` to `to`, which may be there already.
 * @throws AppError `state_unreadable`
 */
export async function moveAside(from: string, to: string): Promise<void> {
  const names = await namesIn(from)
  if (names.length === 0) return
  await mkdir(to, { recursive: true, mode: 0o700 })
  for (const name of names)
    await rename(below(from, name), below(to, name)).catch((error: unknown) => {
      throw new AppError('state_unreadable', `what is in ${from} could not be moved aside to ${to}`, {
        hint: 'data_dir must be on the same file system as the state directories; or empty them yourself.',
        cause: error,
      })
    })
}

/** Removes everything in `directory`: a part of a restore, which is of no use to anybody. */
export async function empty(directory: string): Promise<void> {
  for (const name of await namesIn(directory))
    await rm(below(directory, name), { recursive: true, force: true })
}

async function namesIn(directory: string): Promise<Buffer[]> {
  try {
    const stats = await lstat(directory)
    if (!stats.isDirectory()) throw new Error('it is not a directory')
    return await readdir(directory, { encoding: 'buffer' })
  } catch (cause) {
    throw new AppError(
      'state_unreadable',
      `the state directory ${directory} cannot be read (${messageOf(cause)})`,
      { hint: `Create it (mkdir -p ${directory}), or run this as a user that can read it.`, cause },
    )
  }
}

const below = (directory: string, name: Buffer): Buffer => Buffer.concat([Buffer.from(`${directory}/`), name])
