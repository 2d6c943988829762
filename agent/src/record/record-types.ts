import type { Member } from '@understudy/shared/failover/member-types'
import type { RecordView } from './record-files.ts'
import type { PriceSample } from './record-lines.ts'

/**
 * What the agent knows of itself beyond its state: its changes of primary, its configuration, the last hour of
 * prices. Small files in a directory that is one more root of the state stream, so that whichever instance is
 * promoted goes on from what the one before it knew. Only the primary writes; every file is replaced as a whole.
 */
export interface AgentRecord {
  readonly directory: string
  read(): RecordView
  /** The role may have changed: writes down what that means. Never throws; what cannot be written is logged. */
  onRole(member: Member): void
  /** Adds to the last hour of prices. Does nothing on an instance that is not primary. Never throws, like `onRole`. */
  appendPrices(samples: readonly PriceSample[]): Promise<void>
  /** Runs `task` once everything is written; nothing is written before it has ended. */
  still<T>(task: () => Promise<T>): Promise<T>
}
