import { readFileSync } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { syncDirectory } from './durable-files.ts'

/**
 * Whether the state directories hold a whole copy of some moment, kept on disk so that a restarted agent knows. A
 * copy stops being whole at the first batch that is applied by itself, and is whole again when the primary says so.
 */
export interface CopyMark {
  readonly whole: boolean
  /** A copy was begun and is not whole: what is there may be a mixture, which nothing may be started on. */
  readonly partial: boolean
  set(whole: boolean): Promise<void>
}

const markSchema = z.object({ whole: z.boolean() })

export function openCopyMark(path: string): CopyMark {
  let whole = read(path)
  return {
    get whole() {
      return whole === true
    },
    get partial() {
      return whole === false
    },
    async set(next) {
      if (next === whole) return
      await writeDurably(path, JSON.stringify({ whole: next }))
      whole = next
    },
  }
}

function read(path: string): boolean | undefined {
  try {
    return markSchema.parse(JSON.parse(readFileSync(path, 'utf8'))).whole
  } catch {
    // Never written, or not by us: no copy was begun here, or none that anybody vouches for.
    return undefined
  }
}

/** Replaces a small file so that a crash leaves the old or the new one, never a part. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const next = `${path}.next`
  const handle = await open(next, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(next, path)
  await syncDirectory(dirname(path))
}

/** Something else than a primary fills the state directories: what was received before must not be put over it. */
export async function forgetCopy(dataDirectory: string): Promise<void> {
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
  await openCopyMark(join(dataDirectory, 'copy.json')).set(false)
  await rm(join(dataDirectory, 'journal'), { force: true })
}

/** What is in the state directories is whole. */
export const vouchForCopy = (dataDirectory: string): Promise<void> =>
  openCopyMark(join(dataDirectory, 'copy.json')).set(true)
