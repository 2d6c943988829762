import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'

/**
 * The last `most` bytes of a small file, as text; empty when there is none, or something else in its place.
 * @throws AppError `state_unreadable`
 */
export function readEnd(path: string, most: number): string {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR') return ''
    throw new AppError('state_unreadable', `${path} cannot be read (${code ?? messageOf(error)})`, {
      hint: 'It belongs to the user that the agent runs as: run the command as that user, mostly root.',
      cause: error,
    })
  }
  try {
    const stats = fstatSync(file)
    if (!stats.isFile()) return ''
    const length = Math.min(stats.size, most)
    const buffer = Buffer.alloc(length)
    const read = readSync(file, buffer, 0, length, stats.size - length)
    return buffer.toString('utf8', 0, read)
  } finally {
    closeSync(file)
  }
}
