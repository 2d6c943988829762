import type { Candidate, Offer, Requirement, Stage } from './context.ts'

/** USD per vCPU-hour and per GiB-hour: OpenCost's defaults for AWS. They only say how a price divides. */
const VCPU_USD = 0.031611
const GIB_USD = 0.004237

/** The part of an instance's price that pays for what would lie idle, 0 to 1. */
export function wasteShareOf(
  offer: Pick<Offer, 'vcpu' | 'memGib'>,
  need: Pick<Requirement, 'vcpu' | 'memGib'>,
): number {
  const cpu = offer.vcpu * VCPU_USD
  const alpha = cpu / (cpu + offer.memGib * GIB_USD)
  const used =
    alpha * Math.min(1, need.vcpu / offer.vcpu) + (1 - alpha) * Math.min(1, need.memGib / offer.memGib)
  return Math.min(1, Math.max(0, 1 - used))
}

export const withWaste = (candidate: Candidate, need: Requirement): Candidate => ({
  ...candidate,
  wasteShare: wasteShareOf(candidate.offer, need),
})

/** Drops nothing: says how much of each candidate would be wasted. */
export const binPacking: Stage = {
  name: 'bin_packing',
  run: (candidates, { requirement }) => ({
    kept: candidates.map((candidate) => withWaste(candidate, requirement)),
    dropped: [],
  }),
}
