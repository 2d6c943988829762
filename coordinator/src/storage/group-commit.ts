import { systemCodeOf } from '@understudy/shared/core/app-error'
import { type Clock, millis } from '@understudy/shared/core/time'
import { CompiledQuery } from 'kysely'
import type { Kysely, Schema, Transaction } from './database.ts'

/** What need not be on disk at once waits at most this long. */
const SOON = millis(50)

export type Write<T> = (tx: Transaction<Schema>) => Promise<T>

/**
 * Many writes, one commit: a commit waits for the disk, and with it the whole process. Writes are done in the order in
 * which they were given, and each is all or nothing: one that throws is undone alone and rejects its own promise. What a
 * promise resolves with is on disk.
 */
export interface GroupCommit {
  /** Together with what else comes in the same turn of the event loop. */
  now<T>(write: Write<T>): Promise<T>
  /** With the next write that cannot wait, or a little later. */
  soon<T>(write: Write<T>): Promise<T>
  /** Everything given so far is on disk, or has failed. */
  settled(): Promise<void>
}

interface Waiting {
  /** Returns what to call once it is on disk. */
  readonly run: (tx: Transaction<Schema>) => Promise<() => void>
  readonly reject: (error: unknown) => void
}

export function createGroupCommit(db: Kysely<Schema>, clock: Clock): GroupCommit {
  let waiting: Waiting[] = []
  let cancelLater: (() => void) | undefined
  let state: 'idle' | 'due' | 'working' = 'idle'

  function hurry(): void {
    cancelLater?.()
    cancelLater = undefined
    if (state !== 'idle') return
    state = 'due'
    setImmediate(() => void work())
  }

  async function work(): Promise<void> {
    state = 'working'
    const group = waiting
    waiting = []
    await commit(db, group)
    state = 'idle'
    if (waiting.length > 0) hurry()
  }

  function add<T>(write: Write<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const run = async (tx: Transaction<Schema>) => {
        const result = await write(tx)
        return () => resolve(result)
      }
      waiting.push({ run, reject })
    })
  }

  function now<T>(write: Write<T>): Promise<T> {
    const result = add(write)
    hurry()
    return result
  }

  return {
    now,
    soon(write) {
      cancelLater ??= clock.timer(SOON, hurry)
      return add(write)
    },
    settled: () => now(async () => undefined).catch(() => undefined),
  }
}

async function commit(db: Kysely<Schema>, group: readonly Waiting[]): Promise<void> {
  const done: (() => void)[] = []
  try {
    await db.transaction().execute(async (tx) => {
      for (const each of group) await runAlone(tx, each, done)
    })
  } catch (error) {
    for (const { reject } of group) reject(error)
    return
  }
  for (const tell of done) tell()
}

/** Throws only when the transaction as a whole is lost. */
async function runAlone(
  tx: Transaction<Schema>,
  { run, reject }: Waiting,
  done: (() => void)[],
): Promise<void> {
  await tx.executeQuery(SAVEPOINT)
  try {
    done.push(await run(tx))
  } catch (error) {
    // Waited for in vain once already.
    if (systemCodeOf(error)?.startsWith('SQLITE_BUSY')) throw error
    await tx.executeQuery(UNDO)
    reject(error)
  }
  await tx.executeQuery(RELEASE)
}

const SAVEPOINT = CompiledQuery.raw('savepoint one_write')
const UNDO = CompiledQuery.raw('rollback to savepoint one_write')
const RELEASE = CompiledQuery.raw('release savepoint one_write')
