import { isPoolId, poolId } from '../market/pool.ts'
import { type Candidate, filtered, type Offer, type PipelineInput, type StageResult } from './context.ts'

/**
 * The input adapter: offers become candidates in one order, whatever order they came in. The same offer twice is one; of
 * two that contradict each other the later price counts. An offer that makes no sense is dropped and the rest goes on.
 */
export function toCandidates({ offers, current, now, policy }: PipelineInput): StageResult {
  const all = offers.map((offer) => toCandidate(offer, current)).sort(byIdThenNewest)
  const distinct = all.filter((candidate, i) => !isSame(candidate, all[i - 1]))
  const seen = new Set<string>()
  return filtered(distinct, (candidate) => {
    const field = badField(candidate.offer)
    if (field) return { code: `BAD_INPUT:${field}`, reason: `its ${field} makes no sense` }
    const { priceAt } = candidate.offer
    if (now - priceAt > policy.maxPriceAge || priceAt > now)
      return { code: 'STALE_INPUT', reason: `its price is of ${iso(priceAt)}, and it is ${iso(now)}` }
    if (seen.has(candidate.id))
      return { code: 'DUPLICATE_OFFER', reason: 'another offer of this pool is newer' }
    seen.add(candidate.id)
    return undefined
  })
}

function toCandidate(offer: Offer, current: PipelineInput['current']): Candidate {
  const id = poolId(offer)
  return {
    id,
    offer,
    isCurrent: current !== null && id === poolId(current),
    flags: [],
    risk: null,
    wasteShare: 0,
    score: null,
  }
}

/** Of one pool the newest first, NaN last; what is equal then goes by its text. */
function byIdThenNewest(a: Candidate, b: Candidate): number {
  if (a.id !== b.id) return a.id < b.id ? -1 : 1
  return (b.offer.priceAt || 0) - (a.offer.priceAt || 0) || (textOf(a) < textOf(b) ? -1 : 1)
}

const isSame = (a: Candidate, b: Candidate | undefined): boolean =>
  b !== undefined && a.id === b.id && textOf(a) === textOf(b)

/** With its keys in one order, so that equal offers have equal text. */
const textOf = ({ offer }: Candidate): string =>
  JSON.stringify(Object.entries(offer).sort(([a], [b]) => (a < b ? -1 : 1)))

const positive = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value > 0
const orNull = (check: (value: unknown) => boolean) => (value: unknown) => value === null || check(value)
const band = (value: unknown): boolean => [0, 1, 2, 3, 4].includes(value as number)
const counted = (value: unknown): boolean => value === 0 || positive(value)

const checks: readonly (readonly [keyof Offer, (value: unknown) => boolean])[] = [
  ['spotUsd', positive],
  ['onDemandUsd', orNull(positive)],
  ['vcpu', positive],
  ['memGib', positive],
  ['gpu', counted],
  ['band', orNull(band)],
  ['priceAt', (value) => typeof value === 'number' && Number.isFinite(value)],
]

function badField(offer: Offer): string | undefined {
  if (!isPoolId(poolId(offer))) return 'pool'
  return checks.find(([field, check]) => !check(offer[field]))?.[0]
}

function iso(at: number): string {
  return Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : String(at)
}
