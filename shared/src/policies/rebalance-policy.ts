import type { OnRebalance } from '../protocol/agents.ts'

export interface RebalanceFacts {
  readonly instance: string
  readonly isPrimary: boolean
  /** P(a termination notice follows). */
  readonly probability: number
  readonly threshold: number
  readonly policy: OnRebalance
  /** Replicas may be made without being asked for. */
  readonly automatic: boolean
  readonly hasStandby: boolean
}

/** What a rebalance recommendation brings about, and why in a sentence. */
export interface RebalanceAnswer {
  readonly act: 'none' | 'replica' | 'hand-over'
  readonly why: string
}

/**
 * What is done about a rebalance recommendation: nothing, unless a notice is likelier to follow than the threshold and the agent's
 * policy allows it. The primary runs on whatever is decided, for a recommendation is no deadline; with `handover` it gives its epoch
 * to a replica as soon as one is ready. Pure. Source: decisions 3.4, rows 1 and 2.
 */
export function answerRebalance(facts: RebalanceFacts): RebalanceAnswer {
  const { instance, isPrimary, probability, threshold, policy, automatic, hasStandby } = facts
  const p = probability.toFixed(2)
  const none = (why: string): RebalanceAnswer => ({ act: 'none', why })
  if (!isPrimary) return none(`${instance} is not the primary`)
  if (policy === 'ignore') return none(`the probability is ${p}, and the agent ignores recommendations`)
  if (probability <= threshold)
    return none(`the probability of ${p} is not above the threshold of ${threshold}`)
  if (!automatic && !hasStandby)
    return none(`the probability is ${p}, but replicas may not be created automatically`)
  const above = `the probability of ${p} is above ${threshold}`
  const replica = hasStandby ? 'a replica is there already' : 'a replica is made in the safest pool'
  return policy === 'handover'
    ? { act: 'hand-over', why: `${above}: ${replica}, and takes over when it is ready` }
    : { act: 'replica', why: `${above}: ${replica}` }
}
