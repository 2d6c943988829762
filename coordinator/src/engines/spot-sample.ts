import type { SpotInputText } from '@understudy/shared/protocol/spot-optimizer'

const NOW = '2026-01-05T12:00:00Z'
const TWO_BY_EIGHT = { vcpu: 2, memory_gib: 8, price_at: NOW, on_demand_price: 0.096, interruption_band: 0 }

/** One instance that could run for less elsewhere; of the other pools one is risky, one is too small, one has no price. */
export const spotSample: SpotInputText = {
  now: NOW,
  pipeline_mode: 'CLUSTER_FULL',
  requirement: { vcpu: 2, memory_gib: 8 },
  current: {
    instance_id: 'i-0123456789abcdef0',
    instance_type: 'm5.large',
    availability_zone: 'us-east-1a',
    launched_at: '2026-01-03T12:00:00Z',
  },
  model: { version: 'price-instability@1.0.0', decision_threshold: 0.6 },
  offers: [
    {
      ...{ instance_type: 'm5.large', availability_zone: 'us-east-1a', ...TWO_BY_EIGHT },
      ...{ spot_price: 0.045, p_instability_12h: 0.12 },
    },
    {
      ...{ instance_type: 'm5.large', availability_zone: 'us-east-1b', ...TWO_BY_EIGHT },
      ...{ spot_price: 0.031, p_instability_12h: 0.04 },
    },
    {
      ...{ instance_type: 'm5a.large', availability_zone: 'us-east-1c', ...TWO_BY_EIGHT },
      ...{ spot_price: 0.027, p_instability_12h: 0.71 },
    },
    {
      ...{ instance_type: 'c5.large', availability_zone: 'us-east-1a', ...TWO_BY_EIGHT },
      ...{ memory_gib: 4, spot_price: 0.025, p_instability_12h: 0.03 },
    },
    {
      ...{ instance_type: 'm6i.large', availability_zone: 'us-east-1b', ...TWO_BY_EIGHT },
      ...{ spot_price: 0, p_instability_12h: 0.02 },
    },
  ],
}
