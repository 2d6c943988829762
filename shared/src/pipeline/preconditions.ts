import { hours, type Instant, type Millis } from '../core/time.ts'
import type { EngineName, Risk } from './context.ts'
import type { Action, DecisionCode, DecisionName } from './decision.ts'
import type { ActuatorLevel, ActuatorName } from './instance-config.ts'

/** A decision that is to be carried out, with what it was made from. Plain JSON. */
export interface Order {
  readonly decisionId: string
  readonly engine: EngineName
  /** The agent. */
  readonly targetId: string
  readonly instanceId: string
  readonly poolId: string
  /** As they were when it was decided. */
  readonly epoch: number
  readonly term: number
  readonly decision: DecisionName
  readonly code: DecisionCode
  readonly reason: string
  readonly kind: Action['kind']
  readonly riskSource: Risk['source']
  readonly targetPoolId: string | null
  readonly targetSpotUsd: number | null
  readonly gainUsd: number | null
  readonly actuator: ActuatorName
  readonly level: ActuatorLevel
  readonly orderedAt: Instant
}

/** How the target stands at the moment of acting. */
export interface StandingNow {
  readonly now: Instant
  /** Null while there is none. */
  readonly primary: string | null
  readonly epoch: number
  readonly term: number
  /** An incident of the target that is not over. */
  readonly openIncident: string | null
  readonly autoSwitch: boolean
  readonly enabled: boolean
  readonly level: ActuatorLevel
  /** Of the pool it is to go to; null when nobody knows a price. */
  readonly targetPrice: { readonly usd: number; readonly at: Instant } | null
  readonly maxPriceAge: Millis
  /** When its last move to that pool has failed; null when none has lately. */
  readonly lastFailure: Instant | null
  /** Moves that may be begun now, beside those under way. */
  readonly movesLeft: number
  readonly voluntaryMoves: { readonly allowed: boolean; readonly reason: string }
}

/** A move that has failed is not tried again before: each try may pay for a replica that comes to nothing. */
export const AGAIN_AFTER = hours(6)

/** Only a switch is of our own accord; all else answers a signal of AWS. */
export const isVoluntary = ({ kind }: Pick<Order, 'kind'>): boolean => kind === 'SWITCH'

/**
 * Why a decision must not be carried out now, in a sentence; undefined when nothing speaks against it. What was decided is
 * some moments old, and for a switch whose replica had to be made some minutes: all is looked at again.
 * @param begun the move holds its target already, so that its budget is spent, and votes may have changed who follows
 */
export function objectionTo(order: Order, now: StandingNow, begun = false): string | undefined {
  if (now.primary !== order.instanceId)
    return now.primary === null
      ? `${order.targetId} has no primary now`
      : `${now.primary} is primary of ${order.targetId} by now, not ${order.instanceId}`
  if (now.term !== order.term || (!begun && now.epoch !== order.epoch))
    return `${order.targetId} is at epoch ${now.epoch}, and it was decided at epoch ${order.epoch}`
  if (!now.enabled) return `decisions for ${order.targetId} are switched off`
  return isVoluntary(order) ? voluntaryObjection(order, now, begun) : undefined
}

function voluntaryObjection(order: Order, now: StandingNow, begun: boolean): string | undefined {
  if (order.riskSource !== 'MODEL')
    return 'it was decided without a model: only signals of AWS move anything then'
  if (!now.voluntaryMoves.allowed) return `voluntary moves are off: ${now.voluntaryMoves.reason}`
  if (!now.autoSwitch) return `automatic switches of ${order.targetId} are off`
  if (order.level === 'live' && now.level !== 'live')
    return `the level of ${order.targetId} is ${now.level} by now`
  if (now.openIncident !== null) return `the incident ${now.openIncident} of ${order.targetId} is not over`
  if (order.targetPoolId === null) return 'it says no pool to go to'
  if (!begun && now.lastFailure !== null && now.now - now.lastFailure < AGAIN_AFTER)
    return `its move to ${order.targetPoolId} failed at ${new Date(now.lastFailure).toISOString()}: it is tried again after ${AGAIN_AFTER / hours(1)} h`
  if (!begun && now.movesLeft <= 0) return 'as many moves as the budget allows are under way'
  return priceObjection(order, now)
}

function priceObjection(order: Order, { targetPrice, maxPriceAge, now }: StandingNow): string | undefined {
  const { targetPoolId, targetSpotUsd, gainUsd, code } = order
  if (!targetPrice) return `no price of ${targetPoolId} is known any more`
  if (now - targetPrice.at > maxPriceAge)
    return `the price of ${targetPoolId} is of ${new Date(targetPrice.at).toISOString()}, which is too long ago`
  const rise = targetPrice.usd - (targetSpotUsd ?? targetPrice.usd)
  if (code !== 'UNSAFE' && rise > 0 && rise >= (gainUsd ?? 0))
    return `${targetPoolId} costs $${rise.toFixed(4)} an hour more by now, which eats the gain`
  return undefined
}
