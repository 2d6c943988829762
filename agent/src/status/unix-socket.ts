import { lchownSync, lstatSync, rmSync, type Stats, statSync } from 'node:fs'
import type { Server } from 'node:http'
import { dirname } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'

/** Listens on a unix socket that only the agent's user can open. Rejects with the system's error. */
export const listenPrivately = async (server: Server, path: string): Promise<void> =>
  listen(server, path, 0o077)

/**
 * Listens on a unix socket that members of its directory's group can open too (mode 0660).
 * @throws AppError `config_invalid` when others could replace it, or it cannot be made
 */
export async function listenForGroup(server: Server, path: string): Promise<void> {
  const directory = checkSocketDirectory(path)
  try {
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false)
      throw new Error('there is something else of that name')
    await listen(server, path, 0o117)
    if (lstatSync(path).gid !== directory.gid) lchownSync(path, process.getuid?.() ?? 0, directory.gid)
  } catch (cause) {
    server.close()
    throw new AppError('config_invalid', `the commit socket ${path} cannot be opened (${messageOf(cause)})`, {
      hint: 'Remove what is there, or set commit_socket to another path of at most 107 characters; to give it to a group the agent must run as root or belong to it.',
      cause,
    })
  }
}

/**
 * The directory that a shared socket is to lie in. Nobody but root and the agent may be able to put another socket
 * there: what listens on it says that writes are safe.
 * @throws AppError `config_invalid`
 */
export function checkSocketDirectory(path: string): Stats {
  const directory = dirname(path)
  let stats: Stats
  try {
    stats = statSync(directory)
  } catch (cause) {
    throw new AppError(
      'config_invalid',
      `the directory of the commit socket, ${directory}, cannot be used (${systemCodeOf(cause) ?? messageOf(cause)})`,
      { hint: `Make it for the group that may ask: install -d -g <group> -m 0750 ${directory}`, cause },
    )
  }
  if (!stats.isDirectory())
    throw new AppError(
      'config_invalid',
      `${directory} is not a directory, so ${path} cannot be the commit socket`,
    )
  if ((stats.mode & 0o022) !== 0 || (stats.uid !== 0 && stats.uid !== process.getuid?.()))
    throw new AppError(
      'config_invalid',
      `others may write into ${directory}, the directory of the commit socket`,
      {
        hint: `They could put a socket of their own there that confirms everything: chown root ${directory} && chmod go-w ${directory}`,
      },
    )
  return stats
}

function listen(server: Server, path: string, mask: number): Promise<void> {
  // Left behind by an agent that was killed; a running one holds the lock of the data directory.
  rmSync(path, { force: true })
  return new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    // The socket is made before `listen` returns, so nothing else is made with this mask.
    const before = process.umask(mask)
    try {
      server.listen(path, resolve)
    } finally {
      process.umask(before)
    }
  })
}
