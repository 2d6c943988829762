import { filtered, type Stage } from './context.ts'

/**
 * Lets types in that are larger than asked for, up to `upsizeMultiplier` times the next size (sizes double): sometimes they
 * are cheaper. Without it only that size itself is taken.
 */
const rightSizing = (multiplier: (upsize: number) => number): Stage => ({
  name: 'right_sizing',
  run(candidates, { requirement, input }) {
    const size = nextSize(requirement.vcpu)
    const limit = size * multiplier(input.policy.upsizeMultiplier)
    const { kept, dropped } = filtered(candidates, ({ offer }) =>
      offer.vcpu <= limit
        ? undefined
        : { code: 'TOO_LARGE', reason: `it has ${offer.vcpu} vCPU; at most ${limit} are taken here` },
    )
    return {
      kept: kept.map((candidate) =>
        candidate.offer.vcpu > size ? { ...candidate, flags: [...candidate.flags, 'OVERSIZED'] } : candidate,
      ),
      dropped,
    }
  },
})

export const expandSizes = rightSizing((upsize) => Math.max(1, upsize))
export const sameSize = rightSizing(() => 1)

/** The next power of two: how instances are sold. */
export const nextSize = (vcpu: number): number => 2 ** Math.ceil(Math.log2(vcpu))
