import type { Millis } from '../core/time.ts'
import type { Candidate, RankingName, Score, Stage, StageContext } from './context.ts'

const HOUR = 3_600_000

/** Scores all candidates and puts the best first; drops nothing. */
export const ranking: Stage = {
  name: 'ranking',
  run: (candidates, context) => ({ kept: rank(candidates, context), dropped: [] }),
}

/** Best first: by score, then the cheaper, then by name. */
export function rank(candidates: readonly Candidate[], context: StageContext): Candidate[] {
  const { ranking: name } = context.input.policy
  const scored = scorers[name](candidates.map((candidate) => withScore(candidate, context)))
  const sign = name === 'effective-cost-v1' ? 1 : -1
  return scored.sort(
    (a, b) =>
      sign * (sortedBy(a) - sortedBy(b)) || a.offer.spotUsd - b.offer.spotUsd || (a.id < b.id ? -1 : 1),
  )
}

/** Rounded, so that what differs only by how it was computed is a tie. */
const sortedBy = ({ score }: Candidate): number => Math.round((score?.value ?? 0) * 1e12)

/** What a move to the candidate costs once, in USD: both instances run while it is made. */
export const switchCostUsd = (spotUsd: number, overlap: Millis): number => (spotUsd * overlap) / HOUR

/**
 * Effective cost per hour, `p (1 - rho waste) + h L + S / T`: what is paid, less what others use of it, plus what an
 * interruption is expected to cost, plus the move spread over the expected stay. It depends on no other candidate. The
 * current placement pays no move. Its yield is what it saves of the on-demand price of the request, in percent.
 */
export function withScore(candidate: Candidate, { input, referenceUsd }: StageContext): Candidate {
  const { policy, current } = input
  const { offer, isCurrent, risk, wasteShare } = candidate
  const priceUsd = offer.spotUsd * (1 - policy.rho * wasteShare)
  const riskUsd = (risk?.hazard ?? 0) * (policy.lossUsd ?? referenceUsd)
  const moves = current !== null && !isCurrent
  const switchUsd = moves ? switchCostUsd(offer.spotUsd, policy.overlap) / (policy.hold / HOUR) : 0
  const effectiveUsd = priceUsd + riskUsd + switchUsd
  const score: Score = {
    policy: 'effective-cost-v1',
    value: effectiveUsd,
    effectiveUsd,
    yield: 100 * Math.min(1, Math.max(0, (referenceUsd - effectiveUsd) / referenceUsd)),
    parts: { priceUsd, riskUsd, switchUsd },
  }
  const worse = effectiveUsd > referenceUsd
  return {
    ...candidate,
    score,
    flags: worse ? [...candidate.flags, 'WORSE_THAN_ON_DEMAND'] : candidate.flags,
  }
}

type Scorer = (scored: readonly Candidate[]) => Candidate[]

const crashOf = ({ risk }: Candidate): number => risk?.instability12h ?? risk?.interruption12h ?? 0

function replaced(candidate: Candidate, policy: RankingName, value: number): Candidate {
  const { score } = candidate
  return score ? { ...candidate, score: { ...score, policy, value, yield: value } } : candidate
}

const scorers: Readonly<Record<RankingName, Scorer>> = {
  'effective-cost-v1': (scored) => [...scored],
  /** The seeds' yield, `100 (1 - TCO / max TCO) (1 - p)`. Adding a dear candidate can change who is first. */
  'seed-v1': (scored) => {
    const tco = ({ offer, wasteShare }: Candidate) => offer.spotUsd * (1 + wasteShare)
    const most = scored.length > 1 ? Math.max(...scored.map(tco)) : 0
    return scored.map((candidate) => {
      const cheap = most === 0 ? 1 : 1 - tco(candidate) / most
      return replaced(candidate, 'seed-v1', 100 * cheap * (1 - crashOf(candidate)))
    })
  },
  /** The Lab's `discount - p`, -1 to 1. */
  'seed-linear': (scored) =>
    scored.map((candidate) => {
      const { onDemandUsd, spotUsd } = candidate.offer
      const discount = onDemandUsd === null ? 0 : Math.max(0, 1 - spotUsd / onDemandUsd)
      return replaced(candidate, 'seed-linear', discount - crashOf(candidate))
    }),
}
