import { isPoolId, poolId } from '../market/pool.ts'
import { type Candidate, filtered, type Offer, type PipelineInput, type StageResult } from './context.ts'

/**
 * The input adapter: offers become candidates in one order, whatever order they came in. The same offer twice is one; of
 * two that contradict each other the later price counts. An offer that makes no sense is dropped and the rest goes on.
 */
export function toCandidates({ offers, current, now, policy }: PipelineInput): StageResult {
  const byKey = new Map(offers.map((offer) => [JSON.stringify(ordered(offer)), offer]))
  const keys = [...byKey.keys()].sort((a, b) => (a < b ? -1 : 1))
  const all = keys.map((key) => toCandidate(byKey.get(key) as Offer, current)).sort(byIdThenNewest)
  const seen = new Set<string>()
  return filtered(all, (candidate) => {
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

/** Keys in one order, so that equal offers have equal text. */
const ordered = (offer: Offer): [string, unknown][] =>
  Object.entries(offer).sort(([a], [b]) => (a < b ? -1 : 1))

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

const byIdThenNewest = (a: Candidate, b: Candidate): number =>
  a.id === b.id ? newestFirst(a.offer, b.offer) : a.id < b.id ? -1 : 1

/** NaN sorts last; what is equal keeps the order of its text. */
const newestFirst = (a: Offer, b: Offer): number => (b.priceAt || 0) - (a.priceAt || 0)

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

export function iso(at: number): string {
  return Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : String(at)
}
