import { readFileSync } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
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

/** @throws AppError `state_unreadable` when the file is there and cannot be understood: guessing would be unsafe */
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
      await writeMark(path, next)
      whole = next
    },
  }
}

const writeMark = (path: string, whole: boolean): Promise<void> =>
  writeDurably(path, JSON.stringify({ whole }))

function read(path: string): boolean | undefined {
  try {
    return markSchema.parse(JSON.parse(readFileSync(path, 'utf8'))).whole
  } catch (error) {
    // No copy was begun here, or none that anybody vouches for.
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw new AppError('state_unreadable', `${path} cannot be read (${messageOf(error).slice(0, 200)})`, {
      hint: 'It says whether the copy of the state here is whole. Let the agent\'s user read it; if it is damaged, write {"whole":false} into it: a primary then completes the copy before anything is started on it.',
      cause: error,
    })
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
  await writeMark(join(dataDirectory, 'copy.json'), false)
  await rm(join(dataDirectory, 'journal'), { force: true })
}

/** What is in the state directories is whole. */
export const vouchForCopy = (dataDirectory: string): Promise<void> =>
  writeMark(join(dataDirectory, 'copy.json'), true)
