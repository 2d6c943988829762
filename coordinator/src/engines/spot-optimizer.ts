import type { Policy } from '@understudy/shared/pipeline/context'
import { evaluate, PIPELINE_VERSION } from '@understudy/shared/pipeline/pipeline'
import {
  type SpotConfig,
  type SpotInput,
  type SpotOutput,
  spotConfigSchema,
  spotInputSchema,
  spotOutputSchema,
} from '@understudy/shared/protocol/spot-optimizer'
import type { Engine } from './engine.ts'
import { spotPolicy, toPipelineInput } from './spot-input.ts'
import { toSpotOutput } from './spot-output.ts'
import { spotSample } from './spot-sample.ts'

export interface SpotOptimizer extends Engine {
  decide(input: SpotInput, config: SpotConfig): SpotOutput
}

/** The decision pipeline as an engine: cycles, `/api/v1/evaluate` and what is asked of it here go through the same stages. */
export const createSpotOptimizer = (parts: {
  /** What the installation sets for all targets. */
  readonly settings: Partial<Policy>
  readonly standing: Engine['standing']
  readonly measured: Engine['measured']
}): SpotOptimizer => ({
  id: 'spot_optimizer_v1',
  name: 'Spot optimizer',
  version: PIPELINE_VERSION,
  decision: 'spot-optimize',
  decides: 'In which spot pool an instance runs, and whether it moves',
  description:
    'Leaves out pools that are too small, too often interrupted, too risky or just lost, and ranks the rest by effective cost: the ' +
    'spot price, plus what an interruption is expected to cost, plus the move. It moves a target only where that saves enough.',
  input: spotInputSchema,
  output: spotOutputSchema,
  config: spotConfigSchema,
  sample: spotSample,
  decide(input, config) {
    const policy = spotPolicy(input.pipeline_mode, parts.settings, config)
    return toSpotOutput(evaluate(toPipelineInput(input, policy)), input.requirement?.count ?? 1)
  },
  standing: parts.standing,
  measured: parts.measured,
})
