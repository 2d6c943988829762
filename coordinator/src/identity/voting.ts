import { createHmac, hkdfSync, randomInt, timingSafeEqual } from 'node:crypto'
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

/** Numbers of starts lie this far apart; which one of those between is taken, is chance. */
const STEP = 1024
/** Epochs that are given up for each start when the database is found to be outdated. */
const EPOCHS = 1000

/** Who this coordinator is as a voter: its key, and how often it was started. */
export interface Voting {
  /** Raw Ed25519 key in base64url: what agents check our votes with. */
  readonly publicKey: string
  readonly sign: (proposal: Proposal) => string
  /** What agents are told, and remember: greater at each start on one database. */
  readonly start: number
  /** Told with `start`: only who has our key can make it, so a number that comes back with it is one that was told. */
  readonly startProof: string
  /**
   * What an agent remembers of a coordinator that it has spoken to: `outdated` when that one had a newer database than
   * ours, `unproven` when it would have, but the number was never told by this one's key. A database that was restored
   * and started as often as the other one gives other numbers all the same.
   */
  readonly compare: (remembered: number, proof: string) => 'known' | 'outdated' | 'unproven'
  /**
   * The database is outdated, as `remembered` shows once. `start` is greater from then on, and the caller writes it down
   * (`raiseStart`). Returns how many epochs to leave out: more than any that may be lost, and another number each time.
   */
  readonly leaveBehind: (remembered: number) => number
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
  const startProofOf = proofsBy(row.private_key)
  const { before, now } = await countStart(db)
  let start = now
  /** Nothing up to here is news: it was here, or it was left behind. */
  let accounted = before
  const ours = new Set([start])
  return {
    publicKey: key.publicKey,
    sign: (proposal) => signProposal(key, proposal),
    get start() {
      return start
    },
    get startProof() {
      return startProofOf(start)
    },
    compare(remembered, proof) {
      if (remembered <= accounted || ours.has(remembered)) return 'known'
      const [given, right] = [Buffer.from(proof), Buffer.from(startProofOf(remembered))]
      return given.length === right.length && timingSafeEqual(given, right) ? 'outdated' : 'unproven'
    },
    leaveBehind(remembered) {
      accounted = Math.max(accounted, remembered)
      start = following(Math.max(start, remembered))
      ours.add(start)
      return EPOCHS * Math.floor(start / STEP)
    },
  }
}

const following = (count: number): number => (Math.floor(count / STEP) + 1) * STEP + randomInt(STEP)

/** HMAC-SHA-256 by a key of its own that follows from ours (HKDF, RFC 5869), in base64url. */
function proofsBy(pem: string): (start: number) => string {
  const key = Buffer.from(hkdfSync('sha256', pem, '', 'understudy-coordinator-start/1', 32))
  return (start) => createHmac('sha256', key).update(String(start)).digest('base64url')
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

function countStart(db: Kysely<Schema>): Promise<{ before: number; now: number }> {
  return db.transaction().execute(async (tx) => {
    const row = await tx
      .selectFrom('coordinator_starts')
      .select('count')
      .where('id', '=', ONLY)
      .executeTakeFirst()
    const before = row?.count ?? 0
    const now = following(before)
    if (row) await raiseStart(tx, now)
    else await tx.insertInto('coordinator_starts').values({ id: ONLY, count: now }).execute()
    return { before, now }
  })
}

/** Part of what is written when the database was found to be outdated. */
export async function raiseStart(tx: Kysely<Schema>, count: number): Promise<void> {
  await tx.updateTable('coordinator_starts').set({ count }).where('id', '=', ONLY).execute()
}
