import { mkdir, readdir, rename, statfs } from 'node:fs/promises'
import { AppError } from '@understudy/shared/core/app-error'
import { diskFull } from './durable-files.ts'

/** Always left free on the disk, so that the workload can start. */
const RESERVE_BYTES = 16 * 1024 * 1024

/**
 * Returns how much room there is beyond that, in bytes.
 * @throws AppError `disk_full` when there is no room for so much, and the reserve
 */
export async function assertSpace(directories: readonly string[], bytes: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (const directory of directories) {
    const { bavail, bsize } = await statfs(directory)
    const left = bavail * bsize - bytes - RESERVE_BYTES
    if (left < 0) throw diskFull(directory)
    least = Math.min(least, left)
  }
  return least
}

/** Moves what is in a directory into another. @throws AppError `state_unreadable` */
export async function moveAside(from: string, to: string): Promise<void> {
  const names = await readdir(from, { encoding: 'buffer' })
  if (names.length === 0) return
  await mkdir(to, { recursive: true, mode: 0o700 })
  for (const name of names) {
    const source = Buffer.concat([Buffer.from(`${from}/`), name])
    const target = Buffer.concat([Buffer.from(`${to}/`), name])
    await rename(source, target).catch((error: unknown) => {
      throw new AppError('state_unreadable', `what is in ${from} could not be moved aside to ${to}`, {
        hint: 'data_dir must be on the same file system as the state directories.',
        cause: error,
      })
    })
  }
}
