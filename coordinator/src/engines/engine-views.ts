import type { EngineList, EnginePage } from '@understudy/shared/protocol/engines'
import { z } from 'zod'
import type { Engine } from './engine.ts'
import type { SelectedEngines } from './selected-engines.ts'

type EngineView = EngineList['items'][number]

export async function engineView(engine: Engine, selected: SelectedEngines): Promise<EngineView> {
  const { last, agreementRate } = await engine.measured()
  const { enabled, reason } = engine.standing()
  return {
    engine_id: engine.id,
    name: engine.name,
    version: engine.version,
    decision: engine.decision,
    decides: engine.decides,
    active: selected.activeFor(engine.decision)?.id === engine.id,
    enabled,
    enabled_reason: reason,
    last_execution_time_ms: last?.durationMs ?? null,
    last_decision_at: last ? toTime(last.at) : null,
    agreement_rate: agreementRate,
  }
}

export async function enginePage(engine: Engine, selected: SelectedEngines): Promise<EnginePage> {
  const selection = selected.selectionOf(engine)
  return {
    ...(await engineView(engine, selected)),
    description: engine.description,
    config: { ...selected.configOf(engine) },
    revision: selected.revisionOf(engine.decision),
    selected_at: selection ? toTime(selection.at) : null,
    selected_by: selection?.by ?? null,
    input_schema: jsonSchema(engine.input, 'input'),
    output_schema: jsonSchema(engine.output, 'output'),
    config_schema: jsonSchema(engine.config, 'input'),
    sample: engine.sample,
  }
}

const toTime = (at: number): string => new Date(at).toISOString()

const jsonSchema = (schema: z.ZodType, io: 'input' | 'output'): Record<string, unknown> => ({
  ...z.toJSONSchema(schema, { io }),
})
