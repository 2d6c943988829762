import { type EngineName, engineNames } from './context.ts'

/** One engine's wish for one target. */
export interface Proposal {
  readonly engine: EngineName
  readonly target: string
  readonly action: string
  /** Uses up the disruption budget; an evacuation never waits for it. */
  readonly voluntary: boolean
}

export interface Arbitrated {
  readonly actions: readonly Proposal[]
  readonly skipped: readonly (Proposal & { readonly code: string })[]
}

/** Nodes that may be disrupted at once: a tenth of the ready ones, at least one, less those that are down already. */
export const disruptionBudget = (ready: number, down: number): number =>
  Math.max(0, Math.max(1, Math.floor(ready / 10)) - down)

/** One action per target: the engine of the highest rank has it, and the budget is spent in that order. */
export function arbitrate(proposals: readonly Proposal[], budget: number): Arbitrated {
  const sorted = [...proposals].sort(
    (a, b) => rankOf(a) - rankOf(b) || (a.target < b.target ? -1 : a.target > b.target ? 1 : 0),
  )
  const holders = new Map<string, EngineName>()
  const actions: Proposal[] = []
  const skipped: (Proposal & { code: string })[] = []
  let left = budget
  for (const proposal of sorted) {
    const holder = holders.get(proposal.target)
    if (holder) skipped.push({ ...proposal, code: `SUPERSEDED_BY:${holder}` })
    else if (proposal.voluntary && left <= 0) skipped.push({ ...proposal, code: 'NO_BUDGET' })
    else {
      holders.set(proposal.target, proposal.engine)
      actions.push(proposal)
      if (proposal.voluntary) left -= 1
    }
  }
  return { actions, skipped }
}

const rankOf = ({ engine }: Proposal): number => engineNames.indexOf(engine)
