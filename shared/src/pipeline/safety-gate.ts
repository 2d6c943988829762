import { filtered, type PipelineInput, type Stage } from './context.ts'

/** Safe is `p < tau`; equal is unsafe. */
export const isSafe = (p: number | null, tau: number): boolean => p === null || p < tau

/** The veto on launching: the policy's, or the model's own threshold where that is lower. */
export const tauAdmit = ({ policy, model }: PipelineInput): number =>
  Math.min(policy.tauAdmit, model?.decisionThreshold ?? policy.tauAdmit)

/** Drops what is too likely to become dear, and what is dearer than on-demand already. */
export const safetyGate: Stage = {
  name: 'safety_gate',
  run(candidates, { input }) {
    const tau = tauAdmit(input)
    return filtered(candidates, ({ offer, risk }) => {
      if (offer.onDemandUsd !== null && offer.spotUsd > offer.onDemandUsd)
        return {
          code: 'SPOT_ABOVE_OD',
          reason: `it costs $${offer.spotUsd} on spot and $${offer.onDemandUsd} on demand`,
        }
      const p = risk?.instability12h ?? null
      return isSafe(p, tau)
        ? undefined
        : { code: 'UNSAFE', reason: `its probability of ${p ?? 0} is not below ${tau}` }
    })
  },
}
