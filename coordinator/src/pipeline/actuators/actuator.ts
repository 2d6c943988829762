import type { ActuatorName } from '@understudy/shared/pipeline/instance-config'
import type { Order, StandingNow } from '@understudy/shared/pipeline/preconditions'

/** How an action stands. `running` is the only one that goes on. */
export const actionStatuses = [
  'nothing',
  'logged',
  'would_act',
  'refused',
  'planned',
  'running',
  'done',
  'failed',
] as const
export type ActionStatus = (typeof actionStatuses)[number]

/** What came of a decision. Every outcome carries a sentence. */
export interface ActionResult {
  readonly status: ActionStatus
  readonly reason: string
}

export interface Turn {
  /** Ends when the coordinator stops; then the action goes on at its next start. */
  readonly signal: AbortSignal
  /** Looks again at all that must hold, after the action has begun. */
  look(): Promise<{ readonly objection: string | undefined; readonly standing: StandingNow }>
}

/**
 * Carries decisions out. Only who may act calls `carryOut`, after the preconditions held; levels, preconditions and records
 * are not its business. Every implementation passes actuators.conformance.test.ts.
 */
export interface Actuator {
  readonly name: ActuatorName
  /** What it would do, in one sentence that follows "would". Touches nothing. */
  describe(order: Order): string
  /** Does it. The same decision given again, also after a restart, does it once. Throws only when `signal` has aborted. */
  carryOut(order: Order, turn: Turn): Promise<ActionResult>
}
