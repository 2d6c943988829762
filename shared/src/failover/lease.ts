import { type Millis, type Mono, millis, plus } from '../core/time.ts'

/**
 * How long a primary may run its workload on the word of another voter.
 *
 * The holder counts a lease from the moment it *sent* the heartbeat and shortens it by twice the drift; the grantor
 * counts its promise from the moment it *received* it. Whatever the message delay and whatever each clock's offset,
 * the holder's end comes before the grantor's, as long as no clock drifts by more than `drift`.
 */
export interface LeasePolicy {
  readonly heartbeat: Millis
  readonly lease: Millis
  /** Largest relative error of a monotonic clock. */
  readonly drift: number
  /** How long before its lease ends a primary starts to freeze its workload. */
  readonly fenceBudget: Millis
}

export const defaultLeasePolicy: LeasePolicy = {
  heartbeat: millis(150),
  lease: millis(1000),
  drift: 0.01,
  fenceBudget: millis(200),
}

/** The holder's end of a lease, on the holder's clock. `sentAt` is when it sent the heartbeat that was answered. */
export const leaseEnd = (sentAt: Mono, lease: Millis, drift: number): Mono =>
  plus(sentAt, millis(lease * (1 - 2 * drift)))

/** Until when the grantor lets nobody else become primary, on the grantor's clock. */
export const promiseEnd = (receivedAt: Mono, policy: LeasePolicy): Mono => plus(receivedAt, policy.lease)

/** How long a grantor that has lost its memory of promises must stay silent. */
export const silenceAfterRestart = (policy: LeasePolicy): Millis =>
  millis(policy.lease * (1 + 2 * policy.drift))
