import { open } from 'node:fs/promises'
import { AppError } from '@understudy/shared/core/app-error'

/** Makes names created or removed in a directory durable. */
export async function syncDirectory(path: string | Buffer): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export const diskFull = (path: string, cause?: unknown): AppError =>
  new AppError('disk_full', `no space left on the disk of ${path}`, {
    hint: 'Free space or enlarge the volume; the replica keeps its last whole state and goes on by itself.',
    retryable: true,
    cause,
  })
