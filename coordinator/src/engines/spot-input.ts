import { hours, type Instant, instant } from '@understudy/shared/core/time'
import type { Offer, PipelineInput, Policy, Requirement } from '@understudy/shared/pipeline/context'
import { defaultPolicy } from '@understudy/shared/pipeline/policy'
import type { SpotConfig, SpotInput } from '@understudy/shared/protocol/spot-optimizer'

/** From the engine's own words to the pipeline's. */
export function toPipelineInput(input: SpotInput, policy: Policy): PipelineInput {
  const { current, requirement } = input
  return {
    now: at(input.now),
    mode: input.pipeline_mode,
    requirement: requirement && toRequirement(requirement),
    current: current && {
      instanceId: current.instance_id,
      instanceType: current.instance_type,
      availabilityZone: current.availability_zone,
      launchedAt: at(current.launched_at),
      protected: current.protected,
      switches24h: current.switches_24h,
      forgoneUsd: current.forgone,
    },
    offers: input.offers.map(toOffer),
    model: input.model && {
      version: input.model.version,
      decisionThreshold: input.model.decision_threshold,
    },
    modelFailure: input.model ? null : 'none is named in the input',
    signals: input.signals.map(({ kind, action_at }) => ({
      kind,
      instanceId: current?.instance_id ?? '',
      actionAt: at(action_at),
    })),
    handledSignals: [],
    rebalanceProbability: input.rebalance_probability,
    interruptions: input.interruptions.map((one) => ({
      instanceType: one.instance_type,
      availabilityZone: one.availability_zone,
      at: at(one.at),
    })),
    referenceUsd: null,
    budget: { movesLeft: input.moves_left, heldBy: null },
    policy,
  }
}

/** The policy of a decision: the usual one, what the installation sets, and on top of both what the engine was set to. */
export const spotPolicy = (
  mode: PipelineInput['mode'],
  settings: Partial<Policy>,
  config: SpotConfig,
): Policy => ({ ...defaultPolicy(mode), ...settings, ...fromConfig(config) })

/** What was set with the engine, in the pipeline's own words. */
export function fromConfig(config: SpotConfig): Partial<Policy> {
  const { min_lifetime_hours: lifetime, max_price_age_hours: age } = config
  const said: { readonly [K in keyof Policy]?: Policy[K] | undefined } = {
    ranking: config.ranking,
    hazardFrom: config.hazard_from,
    upsizeMultiplier: config.upsize_multiplier,
    minGainUsd: config.min_gain,
    minGainShare: config.min_gain_share,
    minLifetime: lifetime === undefined ? undefined : hours(lifetime),
    maxSwitches24h: config.max_switches_24h,
    patience: config.patience,
    maxPriceAge: age === undefined ? undefined : hours(age),
    maxPoolShare: config.max_pool_share,
    maxFamilyShare: config.max_family_share,
  }
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined))
}

/** An offer of the market as an input has it. */
export const fromOffer = (offer: Offer): SpotInput['offers'][number] => ({
  instance_type: offer.instanceType,
  availability_zone: offer.availabilityZone,
  spot_price: offer.spotUsd,
  price_at: new Date(offer.priceAt).toISOString(),
  on_demand_price: offer.onDemandUsd,
  vcpu: offer.vcpu,
  memory_gib: offer.memGib,
  arch: offer.arch,
  gpu: offer.gpu,
  interruption_band: offer.band,
  p_instability_12h: offer.instability12h,
  p_interruption_12h: offer.interruption12h,
})

const toOffer = (one: SpotInput['offers'][number]): Offer => ({
  instanceType: one.instance_type,
  availabilityZone: one.availability_zone,
  spotUsd: one.spot_price,
  priceAt: at(one.price_at),
  onDemandUsd: one.on_demand_price,
  vcpu: one.vcpu,
  memGib: one.memory_gib,
  arch: one.arch,
  gpu: one.gpu,
  // One that makes no sense is dropped by the pipeline, which says so.
  band: one.interruption_band as Offer['band'],
  instability12h: one.p_instability_12h,
  interruption12h: one.p_interruption_12h,
})

const toRequirement = (one: NonNullable<SpotInput['requirement']>): Requirement => ({
  vcpu: one.vcpu,
  memGib: one.memory_gib,
  arch: one.arch,
  gpu: one.gpu,
  count: one.count,
  familiesAllowed: one.families_allowed,
  familiesDenied: one.families_denied,
  zonesAllowed: one.zones_allowed,
})

const at = (time: string): Instant => instant(Date.parse(time))
