import { AppError, messageOf } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import type { Proposal } from '@understudy/shared/failover/certificate'
import {
  newVoterKey,
  readVoterKey,
  signProposal,
  voterKeyPem,
} from '@understudy/shared/protocol/vote-signing'
import type { Kysely, Schema } from '../storage/database.ts'

/** The only row of each of the two tables. */
const ONLY = 1

/** Who this coordinator is as a voter: its key, and how often it was started. */
export interface Voting {
  /** Raw Ed25519 key in base64url: what agents check our votes with. */
  readonly publicKey: string
  readonly sign: (proposal: Proposal) => string
  /** What agents are told, and remember. */
  readonly start: number
  /**
   * What an agent remembers of a coordinator that it has spoken to. More than `start`: that one had a newer database,
   * of which ours is an older copy. `start` is greater from then on; the caller writes it down (`raiseStart`).
   */
  readonly isOutdatedBy: (remembered: number) => boolean
}

/**
 * Makes the key at the very first start, and counts this one.
 * @throws AppError `state_unreadable`
 */
export async function openVoting(db: Kysely<Schema>, clock: Clock): Promise<Voting> {
  await db
    .insertInto('coordinator_keys')
    .values({ id: ONLY, private_key: voterKeyPem(newVoterKey()), created_at: clock.now() })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute()
  const row = await db
    .selectFrom('coordinator_keys')
    .select('private_key')
    .where('id', '=', ONLY)
    .executeTakeFirstOrThrow()
  const key = readKey(row.private_key)
  let start = await countStart(db)
  return {
    publicKey: key.publicKey,
    sign: (proposal) => signProposal(key, proposal),
    get start() {
      return start
    },
    isOutdatedBy(remembered) {
      if (remembered <= start) return false
      start = remembered + 1
      return true
    },
  }
}

function readKey(pem: string): ReturnType<typeof readVoterKey> {
  try {
    return readVoterKey(pem)
  } catch (error) {
    throw new AppError(
      'state_unreadable',
      `the key in the database that this coordinator votes with cannot be used (${messageOf(error)})`,
      {
        hint: 'Restore the table coordinator_keys from a backup: every agent knows the coordinator by that key.',
      },
    )
  }
}

async function countStart(db: Kysely<Schema>): Promise<number> {
  const { count } = await db
    .insertInto('coordinator_starts')
    .values({ id: ONLY, count: 1 })
    .onConflict((conflict) =>
      conflict.column('id').doUpdateSet((e) => ({ count: e('coordinator_starts.count', '+', 1) })),
    )
    .returning('count')
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** Part of what is written when the database was found to be outdated. */
export async function raiseStart(tx: Kysely<Schema>, count: number): Promise<void> {
  await tx.updateTable('coordinator_starts').set({ count }).where('id', '=', ONLY).execute()
}
