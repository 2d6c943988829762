import type { Key } from '../replication/replication.ts'
import { newestFirst, type Snapshot, type SnapshotName } from './snapshot-format.ts'

/** What a snapshot is built on, how its content is cut, and what is thrown away: pure. */

const MIB = 1024 * 1024
/** A small state may have this much of changes before it is stored anew. */
const CHAIN_ALLOWANCE = 64 * MIB
/** Each pack costs a request at restore. */
const MAX_SMALL_PACKS = 1000
/** A pack of a new base ends at a name that says so, once it is at least this large. */
const CUT_FROM = 4 * MIB
const CUT_AT = 16 * MIB
/** Of the names, one in so many says so. */
const CUT_SHARE = 32

/** Why a snapshot begins a new chain; undefined when it goes on with that of `last`. */
export function reasonForBase(
  last: Pick<Snapshot, 'packs' | 'directories'> | undefined,
  directories: number,
  stateBytes: number,
): string | undefined {
  if (!last) return 'there is no snapshot that it could go on from'
  if (last.directories.length !== directories)
    return `the last one has ${last.directories.length} state directories`
  const raw = last.packs.reduce((sum, pack) => sum + pack.raw_bytes, 0)
  if (raw > 2 * stateBytes + CHAIN_ALLOWANCE) return 'its chain is more than twice as large as the state'
  if (last.packs.length > MAX_SMALL_PACKS + (2 * stateBytes) / CUT_AT) return 'its chain has too many packs'
  return undefined
}

/**
 * Says after which names a sequence of names is cut into parts: where follows from the names, not from what came
 * before. When one of them changes, the parts of the others stay the same, and those that are in the store already
 * are not sent again.
 */
export function createCutter(from: number, at: number): (key: Key, bytes: number) => boolean {
  let gathered = 0
  return (key, bytes) => {
    gathered += bytes
    if (gathered < from || (gathered < at && hashOf(key) % CUT_SHARE !== 0)) return false
    gathered = 0
    return true
  }
}

/** Cuts the names of a whole state into groups, each of which becomes packs of its own; large files stand alone. */
export function* cutByName(keys: readonly Key[], bytesOf: (key: Key) => number): Generator<Key[]> {
  let endsHere = createCutter(CUT_FROM, CUT_AT)
  let group: Key[] = []
  for (const key of [...keys].sort()) {
    const bytes = bytesOf(key)
    if (bytes >= CUT_AT && group.length > 0) {
      yield group
      group = []
      endsHere = createCutter(CUT_FROM, CUT_AT)
    }
    group.push(key)
    if (!endsHere(key, bytes)) continue
    yield group
    group = []
  }
  if (group.length > 0) yield group
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193) >>> 0
  // The last bits of FNV depend on the last bytes alone.
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Snapshots beyond the newest `keep`. The newest, which was just seen to be whole, is never among them. */
export const superfluous = (names: readonly SnapshotName[], keep: number): SnapshotName[] =>
  newestFirst(names).slice(Math.max(keep, 1))
