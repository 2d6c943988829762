import { setImmediate } from 'node:timers/promises'
import { evaluate } from '@understudy/shared/pipeline/pipeline'
import type { Cycle, Decided } from './batch.ts'
import type { DecisionMade } from './evaluations.ts'

/**
 * Tells of the decisions of a cycle on targets on which something is tried. Outcomes are large and are not kept: these are made
 * again.
 */
export async function tellOfTried(
  { actions }: Pick<Cycle, 'actions'>,
  decided: readonly Pick<Decided, 'config' | 'decision'>[],
  tell: (made: DecisionMade) => Promise<void>,
): Promise<void> {
  const acted = new Set(actions.flatMap((one) => (one.status === 'running' ? [one.decisionId] : [])))
  for (const { config, decision } of decided) {
    if (config.pipelineMode !== 'SINGLE_LINEAR' && config.modelId === null) continue
    const { id, input, made } = decision
    const { instanceId, durationMs } = made
    await tell({ id, input, outcome: evaluate(input), instanceId, durationMs, acted: acted.has(id) })
    // It may be the whole fleet: whoever holds a lease is heard in between.
    await setImmediate()
  }
}
