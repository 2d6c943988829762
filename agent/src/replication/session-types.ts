import type { InstanceId } from '@understudy/shared/core/ids'
import type { Clock, Millis, Mono } from '@understudy/shared/core/time'
import type { ReplicaMessage } from '@understudy/shared/protocol/replication-messages'
import type { Logger } from 'pino'
import type { WebSocket } from 'ws'
import type { BufferPool } from './buffer-pool.ts'
import type { Pace } from './pace.ts'
import type { Scanner } from './scanner.ts'
import type { StateRoots } from './state-files.ts'
import type { Key } from './state-tree.ts'
import type { VerificationPace, Verified } from './verification.ts'

/**
 * One replica that receives from this primary. What it still has to get is a set of names, not a queue: a name that
 * changes ten times while the replica is slow is sent once. Lives on through short breaks of the connection.
 */
export interface SenderSession {
  readonly instance: InstanceId
  readonly lag: SessionLag
  /** The last batch that is on the replica's disk. */
  readonly seq: number
  readonly ended: boolean
  /** What a replica that comes back has can be gone on from. */
  canResume(join: Join): boolean
  readonly bytesPerSecond: number | undefined
  /** Content in names that are not sent yet, in bytes; with a condition only theirs, and what is being sent. */
  pendingBytes(which?: (key: Key) => boolean): number
  /** The scanner has looked: at some names, or at everything as of `completeSince`. */
  looked(changed: ReadonlySet<Key>, completeSince?: Mono): void
  onMessage(message: ReplicaMessage): void
  onManifest(frame: Uint8Array): void
  /** Takes a connection of the same replica; goes on where it was if that can be. */
  attach(socket: WebSocket, join: Join): void
  detach(): void
  /** Nothing is held back any more; names that are preferred go first, as a group of their own. */
  sendAll(preferred?: (key: Key) => boolean): void
  /** Whether a cut can be taken now; if not, everything is done so that the next one can. */
  canCapture(): boolean
  /** Reads what is dirty into memory, to be sent as one group; throws AppError `conflict` when it is too much. */
  capture(limit: number): () => void
  /** Resolves once the replica has a whole copy and is close behind. */
  near(signal: AbortSignal): Promise<void>
  /** Resolves once the names that were preferred, and nothing after them, are durable over there. */
  preferredSent(signal: AbortSignal): Promise<void>
  /** Begins to send nothing more of its own accord, until the result is called. */
  withhold(): () => void
  /** The replica has a whole copy on its disk, of some moment. */
  readonly whole: boolean
  /** It may be its turn now. */
  wake(): void
  /** The hand-over to some replica is over, well or not. */
  release(): void
  /** Resolves once nothing is left to send and everything sent is durable over there. */
  settled(signal: AbortSignal): Promise<void>
  /** Resolves once everything written before `moment` is durable over there. */
  safe(moment: Mono, signal: AbortSignal): Promise<void>
  /** Resolves once the replica says that its tree is the same but for these names, and when `tolerant` for attributes; throws AppError when it is not. */
  barrier(except: readonly Key[], signal: AbortSignal, tolerant: boolean): Promise<void>
  close(why: string): void
}

export type Join = ReplicaMessage & { type: 'join' }

export interface SessionLag {
  readonly attached: boolean
  readonly bytes: number
  readonly batches: number
  /** Age of the oldest change that is not durable over there. */
  readonly millis: Millis
  /** Everything that was written more than this long ago is durable over there; null before that can be said. */
  readonly safeMillis: Millis | null
  readonly verified: Verified
  /** Names with extended attributes that the replica cannot set. */
  readonly withoutXattrs: number
}

export interface SessionSurroundings {
  readonly instance: InstanceId
  readonly epoch: number
  readonly scanner: Pick<Scanner, 'tree' | 'knownUntil' | 'distrust' | 'suspect' | 'read' | 'learn'>
  readonly roots: StateRoots
  readonly clock: Clock
  readonly log: Logger
  readonly pace: Pace
  readonly pool: BufferPool
  readonly window: () => number
  /** A hand-over to another replica is under way: this one waits. */
  readonly isHeld: () => boolean
  readonly isUrgent: () => boolean
  /** Changes go over only as captured by a cut, once the replica has a first copy. */
  readonly cutsOnly: boolean
  readonly verify: VerificationPace
}
