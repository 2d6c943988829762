import type { Member } from '@understudy/shared/failover/member-types'
import type { PriceQueue } from '../market/price-queue.ts'
import type { RecordView } from './record-files.ts'

/**
 * What the agent knows of itself beyond its state: its changes of primary, its configuration, the last hour of
 * prices and those that the coordinator does not have yet. Small files in a directory that is one more root of the state stream, so that whichever instance is
 * promoted goes on from what the one before it knew. Only the primary writes; every file is replaced as a whole.
 */
export interface AgentRecord {
  readonly directory: string
  read(): RecordView
  /** The role may have changed: writes down what that means. Never throws; what cannot be written is logged. */
  onRole(member: Member): void
  /** The primary's samples, those of the primary before it too. Empty on an instance that is not primary. */
  readonly prices: PriceQueue
  /** Runs `task` once everything is written; nothing is written before it has ended. */
  still<T>(task: () => Promise<T>): Promise<T>
}
