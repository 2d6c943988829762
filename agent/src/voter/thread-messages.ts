import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { Mono } from '@understudy/shared/core/time'
import type { Certificate, VoterId } from '@understudy/shared/failover/certificate'
import type { LeasePolicy } from '@understudy/shared/failover/lease'
import type { ElectionExtras, Lease, VoterEffect } from '@understudy/shared/failover/voter-types'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Credentials } from '../identity/identity.ts'

/** What the main thread and the thread of the voter say to each other. Both are of one build. */

export interface ThreadSetup {
  readonly agent: AgentId
  readonly self: InstanceId
  /** The durable file. */
  readonly path: string
  /** The voter's socket at the coordinator. */
  readonly url: string
  readonly credential: string
  readonly tls: Credentials | undefined
  readonly host: string
  readonly port: number
  /** AGENT_WORKLOAD_KEY of what the guard kills. */
  readonly workloadKey: string
}

/** Where a replica reaches its primary's voter. */
export interface PeerAddress {
  readonly instanceId: InstanceId
  readonly host: string
  readonly voterPort: number
  /** The epoch of the order that named it. */
  readonly epoch: number
}

export type Command =
  | {
      readonly kind: 'release'
      readonly turn: number
      readonly target: InstanceId
      readonly extras: ElectionExtras
    }
  | { readonly kind: 'resign'; readonly epoch: number; readonly call: number }
  /** Whether processes of the workload may be doing something; said before they do. */
  | { readonly kind: 'expose'; readonly exposed: boolean; readonly call: number }
  /** What the coordinator has said in its greeting. */
  | {
      readonly kind: 'greeted'
      readonly policy: LeasePolicy
      readonly coordinatorStart: number
      readonly coordinatorStartProof: string
      readonly coordinatorKey: string
    }
  /** The answer to `prepare`. */
  | { readonly kind: 'prepared'; readonly call: number; readonly ok: boolean }
  | { readonly kind: 'allow'; readonly peers: readonly InstanceId[] }
  | { readonly kind: 'dial'; readonly upstream: PeerAddress | undefined }
  | { readonly kind: 'tls'; readonly credentials: Credentials }
  | { readonly kind: 'credential'; readonly credential: string }
  | { readonly kind: 'close' }

/** Ends of leases are readings of CLOCK_MONOTONIC, which is the same for all threads. */
export interface GivenLease {
  readonly voter: VoterId
  readonly end: Mono
}

/** What is to be known of the voter outside its thread. */
export interface VoterState {
  readonly certificate: Certificate | undefined
  /** The last ones, the newest at the end. */
  readonly chain: readonly Certificate[]
  /** Who must have what is acknowledged to the workload: who takes over, or may be about to become that. */
  readonly keepers: readonly InstanceId[]
  readonly voted: number
  readonly resigned: number
  readonly coordinatorStart: number
  readonly coordinatorStartProof: string
  readonly standing: Standing
  /** Connected to the voter's socket at the coordinator. */
  readonly coordinator: boolean
  readonly peers: readonly InstanceId[]
  readonly degraded: readonly Degradation[]
}

export type Standing = 'quiet' | 'learner' | 'successor' | 'candidate' | 'in-office' | 'resigned'

/** What the role is told. */
export type RoleEffect = Exclude<VoterEffect, { readonly kind: 'persist' | 'send' | 'broadcast' }>

export type Note =
  | { readonly kind: 'ready'; readonly port: number; readonly key: string }
  /** It cannot begin, or not go on. */
  | {
      readonly kind: 'failed'
      readonly code: string
      readonly message: string
      readonly hint: string | undefined
    }
  | { readonly kind: 'state'; readonly state: VoterState }
  | { readonly kind: 'lease'; readonly lease: Lease; readonly leases: readonly GivenLease[] }
  | { readonly kind: 'effect'; readonly effect: RoleEffect }
  | { readonly kind: 'done'; readonly call: number }
  /** From now on `target` is one of the keepers; it must have what was acknowledged before. Ends with `prepared`. */
  | { readonly kind: 'prepare'; readonly target: InstanceId; readonly call: number }
  /** The guard has killed the workload. */
  | { readonly kind: 'killed'; readonly processes: number; readonly left: number }
  | { readonly kind: 'log'; readonly level: Level; readonly line: Readonly<Record<string, unknown>> }

export type Level = 'debug' | 'info' | 'warn' | 'error'
