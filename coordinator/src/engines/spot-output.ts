import type { Candidate, Drop } from '@understudy/shared/pipeline/context'
import type { Outcome } from '@understudy/shared/pipeline/pipeline'
import type { SpotOutput } from '@understudy/shared/protocol/spot-optimizer'

/** A month, as AWS bills. */
const MONTH_HOURS = 730

/** @param count how many instances are to be placed */
export function toSpotOutput(outcome: Outcome, count: number): SpotOutput {
  const { decision, ranked, allocation, trace } = outcome
  const placed = allocation.reduce((sum, share) => sum + share.count, 0)
  return {
    decision: decision.decision,
    code: decision.code,
    reason: decision.reason,
    alert: decision.alert,
    suggestion: decision.suggestion,
    risk_source: outcome.riskSource,
    action: decision.action?.kind ?? null,
    target_pool_id: decision.target?.id ?? null,
    gain: decision.gainUsd,
    ranked: ranked.map(toRanked),
    allocation: allocation.map(({ id, count: own }) => ({ pool_id: id, count: own })),
    unplaced: count - placed,
    ...savingsOf(outcome, count),
    skipped: trace.flatMap(({ stage, dropped }) =>
      dropped.map((drop) => ({ pool_id: drop.id, stage, ...inOwnWords(drop) })),
    ),
    stages: trace.map(({ stage, in: before, out }) => ({ stage, in: before, out })),
  }
}

/** The pipeline's names of what an offer has, and those of the input. */
const fields: Readonly<Record<string, string>> = {
  spotUsd: 'spot_price',
  onDemandUsd: 'on_demand_price',
  memGib: 'memory_gib',
  band: 'interruption_band',
  priceAt: 'price_at',
}

function inOwnWords({ code, reason }: Drop): { readonly code: string; readonly reason: string } {
  const [what, field = ''] = code.split(':')
  const own = fields[field]
  return own === undefined ? { code, reason } : { code: `${what}:${own}`, reason: reason.replace(field, own) }
}

const toRanked = ({ id, offer, risk, score, flags }: Candidate): SpotOutput['ranked'][number] => ({
  pool_id: id,
  spot_price: offer.spotUsd,
  on_demand_price: offer.onDemandUsd,
  effective_cost: effectiveOf(score, offer),
  yield: score?.yield ?? 0,
  p_instability_12h: risk?.instability12h ?? null,
  p_interruption_12h: risk?.interruption12h ?? null,
  flags: [...flags],
})

const effectiveOf = (score: Candidate['score'], offer: Candidate['offer']): number =>
  score?.effectiveUsd ?? offer.spotUsd

/** Against what runs; where nothing does, against the on-demand prices of the types that would be launched. */
function savingsOf(
  { current, ranked, allocation }: Outcome,
  count: number,
): Pick<SpotOutput, 'estimated_savings' | 'savings_against'> {
  const nothing = { estimated_savings: null, savings_against: null }
  const [best] = ranked
  if (!best) return nothing
  if (current) {
    const saved = effectiveOf(current.score, current.offer) - effectiveOf(best.score, best.offer)
    return { estimated_savings: saved * MONTH_HOURS * count, savings_against: 'current' }
  }
  let saved = 0
  for (const share of allocation) {
    const pool = ranked.find(({ id }) => id === share.id)
    const onDemand = pool?.offer.onDemandUsd
    if (!pool || onDemand === null || onDemand === undefined) return nothing
    saved += (onDemand - effectiveOf(pool.score, pool.offer)) * share.count
  }
  return { estimated_savings: saved * MONTH_HOURS, savings_against: 'on-demand' }
}
