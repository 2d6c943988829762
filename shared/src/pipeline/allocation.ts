import { familyOf } from '../market/pool-groups.ts'
import type { Candidate, Policy } from './context.ts'

export interface Share {
  readonly id: string
  readonly count: number
}

/** Below this many instances shares would forbid everything but one of each. */
const FEWEST_TO_SPREAD = 3

/**
 * Spreads `count` instances over the pools, best first, so that no pool and no family has more than its share. What the
 * shares leave no room for is missing from the sum.
 */
export function allocate(ranked: readonly Candidate[], count: number, policy: Policy): readonly Share[] {
  const spread = count >= FEWEST_TO_SPREAD
  const perPool = spread ? Math.max(1, Math.floor(policy.maxPoolShare * count + 1e-9)) : count
  const perFamily = spread ? Math.max(1, Math.floor(policy.maxFamilyShare * count + 1e-9)) : count
  const families = new Map<string, number>()
  const shares: Share[] = []
  let left = count
  for (const { id, offer } of ranked) {
    const family = familyOf(offer)
    const taken = families.get(family) ?? 0
    const own = Math.min(left, perPool, perFamily - taken)
    if (own <= 0) continue
    families.set(family, taken + own)
    shares.push({ id, count: own })
    left -= own
  }
  return shares
}
