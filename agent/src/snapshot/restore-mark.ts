import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { z } from 'zod'
import { writeDurably } from '../replication/replication.ts'

const markSchema = z.object({
  /** The snapshot that is put in place; null before one has been chosen. */
  snapshot: z.string().nullable(),
  /** So many of its packs are in place and durable. */
  packs: z.int().nonnegative(),
})
export type RestoreProgress = z.infer<typeof markSchema>

/**
 * Says, across crashes, that the state directories hold a part of a snapshot, or nothing where a snapshot belongs:
 * nothing may be started on them until the restore has ended.
 */
export interface RestoreMark {
  readonly progress: RestoreProgress | undefined
  set(progress: RestoreProgress): Promise<void>
  clear(): Promise<void>
}

/** @throws AppError `state_unreadable` when the file is there and cannot be understood */
export function openRestoreMark(path: string): RestoreMark {
  let progress = read(path)
  return {
    get progress() {
      return progress
    },
    async set(next) {
      await writeDurably(path, JSON.stringify(next))
      progress = next
    },
    async clear() {
      await rm(path, { force: true })
      progress = undefined
    },
  }
}

function read(path: string): RestoreProgress | undefined {
  try {
    return markSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw new AppError('state_unreadable', `${path} cannot be read (${messageOf(error)})`, {
      hint: 'It says how far a restore came. Remove it, and restore anew: understudy-agent restore --force',
      cause: error,
    })
  }
}
