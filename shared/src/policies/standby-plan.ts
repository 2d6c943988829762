import { type Instant, type Millis, minutes, seconds } from '../core/time.ts'
import type { SignalOutcome } from '../interruption/signal-outcome.ts'
import type { OnRebalance, ReplicaType } from '../protocol/agents.ts'

/** A standby that counts on: neither lost nor under notice. */
export interface StandbyFacts {
  readonly id: string
  /** Null until it has been launched. */
  readonly instance: string | null
  readonly type: ReplicaType
  readonly createdAt: Instant
  /** Whether it could take over now. */
  readonly isReady: boolean
  /** AWS recommends to rebalance its own instance, and a notice may still follow. */
  readonly isAtRisk: boolean
  /** Its place among the standbys by risk and price, 0 for the best. */
  readonly merit: number
}

/** An agent that runs quietly, as the keeper of its standbys sees it. */
export interface QuietAgent {
  readonly now: Instant
  readonly policy: OnRebalance
  /** Replicas may be made without being asked for. */
  readonly automatic: boolean
  readonly threshold: number
  readonly minReplicas: number
  /** How long a replica that was made because of a risk is kept when the risk is over. */
  readonly cooldown: Millis
  /** The last recommendation for the primary's instance; `probability` that a notice follows one. */
  readonly signal: {
    readonly detectedAt: Instant
    readonly outcome: SignalOutcome
    readonly probability: number
  } | null
  /** P(the primary is interrupted within two hours) by its age, its pool and the hour alone; null where nobody can say. */
  readonly hazard: number | null
  readonly lastMoveAt: Instant | null
  /** When a move because of this signal was last tried. */
  readonly triedAt: Instant | null
  readonly standbys: readonly StandbyFacts[]
}

/** One thing to do, or none; each with its reason in a sentence. */
export type StandbyPlan =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'make'; readonly type: ReplicaType; readonly why: string }
  | { readonly kind: 'hand-over'; readonly instance: string; readonly why: string }
  | { readonly kind: 'release'; readonly id: string; readonly why: string }

/** A recommendation moves nothing so soon after another move. Source: failover 2.7. */
const AFTER_A_MOVE = seconds(60)
const TRY_AGAIN = minutes(5)

/**
 * What is to be done about the standbys of an agent of which nothing is under way: one is made where the primary is at risk or fewer
 * than `minReplicas` are there; with the policy `handover` the best one that is ready takes over from a primary of which a notice is
 * likely; one that was made because of a risk is let go once that has been over for the cool-down. Pure.
 *
 * Properties (standby-plan.test.ts): nothing is made or moved for an agent that ignores recommendations and keeps none; nobody is
 * let go while the primary is at risk and no other is there, nor below `minReplicas`, nor who was made by hand; two looks at the same
 * facts never undo each other.
 */
export function planStandbys(agent: QuietAgent): StandbyPlan {
  const { standbys, automatic, minReplicas } = agent
  const risk = riskOf(agent)
  if (automatic && risk !== undefined && standbys.length === 0)
    return { kind: 'make', type: 'automatic-rebalance', why: risk }
  if (automatic && standbys.length < minReplicas)
    return {
      kind: 'make',
      type: 'automatic-termination',
      why: `${minReplicas} ${minReplicas === 1 ? 'is' : 'are'} to be kept at all times`,
    }
  return handOver(agent) ?? release(agent, Math.max(minReplicas, risk === undefined ? 0 : 1))
}

/** Why a standby is needed now, beyond those that are kept anyway; undefined when it is not. */
function riskOf({ policy, threshold, signal, hazard }: QuietAgent): string | undefined {
  if (policy === 'ignore') return undefined
  if (isLikely(signal, threshold))
    return `AWS recommends to rebalance the primary, and a notice follows with a probability of ${signal.probability.toFixed(2)}`
  if (hazard !== null && hazard > threshold)
    return `the primary is interrupted within 2 h with a probability of ${hazard.toFixed(2)} by its age, pool and hour`
  return undefined
}

const isLikely = (
  signal: QuietAgent['signal'],
  threshold: number,
): signal is NonNullable<QuietAgent['signal']> => signal?.outcome === 'open' && signal.probability > threshold

function handOver(agent: QuietAgent): StandbyPlan | undefined {
  const { now, policy, threshold, signal, lastMoveAt, triedAt, standbys } = agent
  if (policy !== 'handover' || !isLikely(signal, threshold)) return undefined
  if (lastMoveAt !== null && now - lastMoveAt < AFTER_A_MOVE) return undefined
  if (triedAt !== null && now - triedAt < TRY_AGAIN) return undefined
  const [target] = standbys
    .filter(({ isReady, isAtRisk, instance }) => isReady && !isAtRisk && instance !== null)
    .sort((a, b) => a.merit - b.merit)
  if (!target?.instance) return undefined
  const why = `a notice follows the recommendation with a probability of ${signal.probability.toFixed(2)}, above ${threshold}`
  return { kind: 'hand-over', instance: target.instance, why }
}

function release({ now, cooldown, signal, standbys }: QuietAgent, keep: number): StandbyPlan {
  if (standbys.length <= keep) return { kind: 'nothing' }
  const [surplus] = standbys
    .filter(({ type }) => type === 'automatic-rebalance')
    .filter(({ createdAt }) => now - Math.max(createdAt, signal?.detectedAt ?? createdAt) >= cooldown)
    .sort((a, b) => Number(a.isReady) - Number(b.isReady) || b.merit - a.merit)
  if (!surplus) return { kind: 'nothing' }
  const what =
    signal?.outcome === 'not_followed' ? 'no notice followed the recommendation' : 'the risk is over'
  return { kind: 'release', id: surplus.id, why: `${what}: it is not needed any more` }
}
