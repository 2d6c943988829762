import { hours, type Instant, instant } from '../core/time.ts'
import type { Offer, PipelineInput, Placement, Requirement } from './context.ts'
import { defaultPolicy } from './policy.ts'
import type { Order, StandingNow } from './preconditions.ts'

/** Inputs for tests: every field has a plain value, and a test names those that it is about. */
export const NOW: Instant = instant(Date.UTC(2026, 0, 5, 12))

export const offer = (instanceType: string, spotUsd: number, more: Partial<Offer> = {}): Offer => ({
  instanceType,
  availabilityZone: 'ap-south-1a',
  spotUsd,
  priceAt: NOW,
  onDemandUsd: 0.1,
  vcpu: 2,
  memGib: 4,
  arch: 'x86_64',
  gpu: 0,
  band: 0,
  instability12h: 0.01,
  interruption12h: null,
  ...more,
})

export const need = (more: Partial<Requirement> = {}): Requirement => ({
  vcpu: 2,
  memGib: 4,
  arch: 'x86_64',
  gpu: 0,
  count: 1,
  familiesAllowed: null,
  familiesDenied: [],
  zonesAllowed: null,
  ...more,
})

export const placement = (instanceType: string, more: Partial<Placement> = {}): Placement => ({
  instanceId: 'i-0123456789abcdef0',
  instanceType,
  availabilityZone: 'ap-south-1a',
  launchedAt: instant(NOW - hours(48)),
  protected: false,
  switches24h: 0,
  forgoneUsd: 0,
  ...more,
})

export const inputOf = (offers: readonly Offer[], more: Partial<PipelineInput> = {}): PipelineInput => ({
  now: NOW,
  mode: 'CLUSTER_FULL',
  requirement: need(),
  current: null,
  offers,
  model: { version: 'price-instability@1.0.0', decisionThreshold: null },
  modelFailure: null,
  signals: [],
  handledSignals: [],
  rebalanceProbability: null,
  interruptions: [],
  referenceUsd: 0.1,
  budget: { movesLeft: 10, heldBy: null },
  policy: defaultPolicy('CLUSTER_FULL'),
  ...more,
})

/** A switch that was decided, for tests. */
export const orderOf = (more: Partial<Order> = {}): Order => ({
  decisionId: 'd1',
  engine: 'spot-optimize',
  targetId: 'shop',
  instanceId: 'i-0primary',
  poolId: 'c5.large@ap-south-1a',
  epoch: 3,
  term: 3,
  decision: 'SWITCH',
  code: 'CHEAPER',
  reason: 'it saves money',
  kind: 'SWITCH',
  riskSource: 'MODEL',
  targetPoolId: 'm5.large@ap-south-1b',
  targetSpotUsd: 0.03,
  gainUsd: 0.01,
  actuator: 'agent',
  level: 'live',
  orderedAt: NOW,
  ...more,
})

/** Nothing has changed since `orderOf` was decided. */
export const standingOf = (more: Partial<StandingNow> = {}): StandingNow => ({
  now: NOW,
  primary: 'i-0primary',
  epoch: 3,
  term: 3,
  openIncident: null,
  autoSwitch: true,
  enabled: true,
  level: 'live',
  targetPrice: { usd: 0.03, at: NOW },
  maxPriceAge: hours(6),
  lastFailure: null,
  movesLeft: 1,
  voluntaryMoves: { allowed: true, reason: '' },
  ...more,
})
