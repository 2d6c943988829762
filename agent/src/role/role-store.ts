import { readFileSync } from 'node:fs'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import { createSerial } from '@understudy/shared/core/serial'
import { type Clock, type Instant, instant } from '@understudy/shared/core/time'
import type { Logger } from 'pino'
import { z } from 'zod'
import { type KeptOnDisk, keepOnDisk } from '../config/kept-on-disk.ts'
import { writeDurably } from '../replication/copy-mark.ts'
import { createReservedFile } from '../voter/reserved-file.ts'

/** A block: it holds any version. */
const RESERVED = 4096

const FULL = new Set(['ENOSPC', 'EDQUOT'])

/** What an agent must know after a restart, in one small file. */
const memorySchema = z.object({
  /** Highest epoch that this instance has seen. */
  epoch: z.int().nonnegative(),
  /** It was primary, or about to be, and its workload had not ended: it may still be there. */
  active: z.boolean(),
  /** Latest interruption time that was acted on. */
  handledUpTo: z.number().optional(),
  rebalanceAt: z.number().optional(),
})

export interface RoleMemory {
  readonly epoch: number
  readonly active: boolean
  readonly handledUpTo: Instant | undefined
  readonly rebalanceAt: Instant | undefined
}

export interface RoleStore {
  readonly memory: RoleMemory
  /** Durable when it resolves, also where the disk is full: a primary whose epoch is renewed goes on. */
  save(patch: Partial<RoleMemory>): Promise<void>
}

/** @throws AppError `state_unreadable` when the file is there and cannot be understood: guessing would be unsafe */
export function openRoleStore(path: string): RoleStore {
  let memory = read(path)
  const serial = createSerial()
  const reserved = createReservedFile(path, `${path}.reserved`, RESERVED)

  async function write(text: string): Promise<void> {
    try {
      await writeDurably(path, text)
    } catch (error) {
      if (!FULL.has(systemCodeOf(error) ?? '')) throw error
      reserved.replace(text)
    }
  }

  return {
    get memory() {
      return memory
    },
    save(patch) {
      memory = { ...memory, ...patch }
      return serial(() => write(JSON.stringify(memory)))
    },
  }
}

/** What was acted on: nothing waits for it. */
export const keepNotices = (
  store: RoleStore,
  clock: Clock,
  log: Logger,
): KeptOnDisk<Pick<RoleMemory, 'handledUpTo' | 'rebalanceAt'>> =>
  keepOnDisk({ what: 'which notice was acted on', write: (seen) => store.save(seen), clock, log })

function read(path: string): RoleMemory {
  try {
    const { epoch, active, handledUpTo, rebalanceAt } = memorySchema.parse(
      JSON.parse(readFileSync(path, 'utf8')),
    )
    return {
      epoch,
      active,
      handledUpTo: handledUpTo === undefined ? undefined : instant(handledUpTo),
      rebalanceAt: rebalanceAt === undefined ? undefined : instant(rebalanceAt),
    }
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT')
      return { epoch: 0, active: false, handledUpTo: undefined, rebalanceAt: undefined }
    throw new AppError('state_unreadable', `${path} cannot be read (${messageOf(error)})`, {
      hint: 'It holds the epoch of this instance. If it is damaged, remove the whole data directory and enrol again.',
      cause: error,
    })
  }
}
