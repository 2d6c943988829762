import { hours, minutes } from '../core/time.ts'
import type { PipelineMode, Policy } from './context.ts'

/** The defaults, by mode. Sources: design of decisions 2.1, 3.2 to 3.5; `overlap` and `patience`: docs/backtests.md. */
export function defaultPolicy(mode: PipelineMode): Policy {
  return {
    ranking: 'effective-cost-v1',
    hazardFrom: 'interruption',
    tauAdmit: 0.85,
    tauLeave: 0.85,
    tauReplica: 0.3,
    onRebalance: mode === 'SINGLE_LINEAR' ? 'replica_if_p' : 'cordon_and_prelaunch',
    upsizeMultiplier: 2,
    rho: 0,
    lossUsd: null,
    overlap: minutes(10),
    hold: hours(24),
    minGainUsd: 0.002,
    minGainShare: 0.1,
    minLifetime: hours(4),
    maxSwitches24h: 3,
    patience: 1,
    maxPriceAge: hours(6),
    maxPoolShare: 0.34,
    maxFamilyShare: 0.67,
  }
}
