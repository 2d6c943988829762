import { isAppError } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
import type { ObjectStore, StoredObject } from './object-store.ts'
import {
  layoutOf,
  MAX_DOCUMENT_BYTES,
  MAX_PACK_BYTES,
  newestFirst,
  type Pack,
  parseSnapshot,
  type Snapshot,
  type SnapshotName,
} from './snapshot-format.ts'
import { type BuiltPack, missing } from './state-stream.ts'

/** The snapshots of one agent in a store. */
export interface SnapshotStore {
  readonly name: string
  /** The newest first. */
  names(signal: AbortSignal): Promise<SnapshotName[]>
  /** @throws AppError `not_found`, `state_unreadable` */
  read(id: string, signal: AbortSignal): Promise<Snapshot>
  publish(snapshot: Snapshot, signal: AbortSignal): Promise<void>
  removeSnapshots(ids: readonly string[], signal: AbortSignal): Promise<void>
  /** Every pack that is there, by its SHA-256. */
  packs(signal: AbortSignal): Promise<Map<string, StoredObject>>
  putPack(pack: BuiltPack, signal: AbortSignal): Promise<void>
  /** @throws AppError `state_unreadable` when it is not there */
  getPack(pack: Pack, signal: AbortSignal): Promise<Buffer>
  removePacks(sha256s: readonly string[], signal: AbortSignal): Promise<void>
  /** Drops what uploads of this agent that were cut off have left. */
  sweep(before: Instant, signal: AbortSignal): Promise<number>
  close(): void
}

export function createSnapshotStore(store: ObjectStore, agent: string): SnapshotStore {
  const layout = layoutOf(agent)
  return {
    name: store.name,
    async names(signal) {
      const found = await store.list(layout.snapshots, signal)
      return newestFirst(found.flatMap(({ key }) => layout.nameIn(key) ?? []))
    },
    async read(id, signal) {
      return parseSnapshot(id, await store.get(layout.snapshotOf(id), MAX_DOCUMENT_BYTES, signal))
    },
    publish: (snapshot, signal) =>
      store.put(layout.snapshotOf(snapshot.id), Buffer.from(JSON.stringify(snapshot)), signal),
    removeSnapshots: (ids, signal) => store.remove(ids.map(layout.snapshotOf), signal),
    async packs(signal) {
      const found = await store.list(layout.packs, signal)
      return new Map(found.map((object) => [object.key.slice(layout.packs.length), object]))
    },
    putPack: (pack, signal) => store.put(layout.packOf(pack.sha256), pack.content, signal),
    async getPack(pack, signal) {
      try {
        return await store.get(layout.packOf(pack.sha256), MAX_PACK_BYTES, signal)
      } catch (error) {
        throw isAppError(error, 'not_found') ? missing(pack, error) : error
      }
    },
    removePacks: (sha256s, signal) => store.remove(sha256s.map(layout.packOf), signal),
    sweep: (before, signal) => store.sweep(`${agent}/`, before, signal),
    close: () => store.close(),
  }
}
