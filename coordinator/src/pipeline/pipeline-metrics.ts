import { decisionNames } from '@understudy/shared/pipeline/decision'
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Kysely, Schema } from '../storage/database.ts'
import { actionStatuses } from './actuators/actuator.ts'
import type { Cycle } from './batch.ts'

/** What Prometheus sees of decisions, under the seeds' names where they have one. Never an agent, never a pool. */
export interface PipelineMetrics {
  decided(decision: string, durationMs: number): void
  cycle(cycle: Cycle): void
  acted(status: string): void
}

const MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000]

export function createPipelineMetrics(registry: Registry, db: Kysely<Schema>): PipelineMetrics {
  const registers = [registry]
  const decisions = new Counter({
    name: 'spot_decision_total',
    help: 'Decisions made, by what was decided',
    labelNames: ['decision'],
    registers,
  })
  for (const decision of decisionNames) decisions.inc({ decision }, 0)
  const actions = new Counter({
    name: 'spot_decision_actions_total',
    help: 'What came of decisions that were to do something',
    labelNames: ['status'],
    registers,
  })
  for (const status of actionStatuses) actions.inc({ status }, 0)
  const duration = new Histogram({
    name: 'spot_pipeline_duration_ms',
    help: 'How long one decision took, in milliseconds',
    buckets: MS,
    registers,
  })
  const model = new Histogram({
    name: 'spot_decision_cycle_model_ms',
    help: 'How long the models took for all pools of one cycle, in milliseconds',
    buckets: MS,
    registers,
  })
  const cycleTook = new Gauge({
    name: 'spot_decision_cycle_duration_seconds',
    help: 'How long the last cycle over the fleet took',
    registers,
  })
  const cycleAt = new Gauge({
    name: 'spot_decision_cycle_timestamp_seconds',
    help: 'When the last cycle over the fleet began; 0 before the first one since the start',
    registers,
  })
  const passedOver = new Gauge({
    name: 'spot_decision_cycle_skipped',
    help: 'Agents about which the last cycle could decide nothing',
    registers,
  })
  new Gauge({
    name: 'spot_workload_failures',
    help: 'Incidents in which no replica took over',
    registers,
    async collect() {
      const { count } = await db
        .selectFrom('spot_interruption_events')
        .select((eb) => eb.fn.countAll().as('count'))
        .where('outcome', '=', 'failed')
        .where('trigger', '!=', 'drill')
        .executeTakeFirstOrThrow()
      this.set(Number(count))
    },
  })
  return {
    decided(decision, durationMs) {
      decisions.inc({ decision })
      duration.observe(durationMs)
    },
    cycle({ durationMs, at, skipped, modelMs }) {
      cycleTook.set(durationMs / 1000)
      cycleAt.set(at / 1000)
      passedOver.set(skipped.length)
      model.observe(modelMs)
    },
    acted: (status) => actions.inc({ status }),
  }
}
