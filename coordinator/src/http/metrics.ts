import type { Logger } from 'pino'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { createMetricsText } from './metrics-text.ts'

const STEP_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]

/** What Prometheus scrapes. Labels are few and bounded: never an instance id, never an error text. */
export interface Metrics {
  text(): Promise<string>
  /** Where each domain adds its own. */
  readonly registry: Registry
  readonly contentType: string
  failover(end: {
    readonly trigger: string
    readonly outcome: string
    readonly detectToPromotedSeconds: number | null
    readonly noPrimarySeconds: number | null
    readonly noticeLeftSeconds: number | null
  }): void
  step(step: string, seconds: number): void
  notice(zone: string, instanceType: string): void
}

export interface MetricsSources {
  readonly version: string
  /** Agents by state. */
  readonly agents: () => Promise<Readonly<Record<string, number>>>
  /** Replicas by agent and status. */
  readonly replicas: () => Promise<readonly { agent: string; state: string; count: number }[]>
  readonly lags: () => Promise<readonly { agent: string; seconds: number; bytes: number }[]>
  readonly linkCount: () => number
  readonly voterCount: () => number
  readonly pageCount: () => number
}

const PREFIX = 'understudy_'
const outcomes = ['promoted', 'relaunched', 'failed'] as const
const triggers = ['notice', 'silence', 'planned', 'drill'] as const

export function createMetrics(sources: MetricsSources, log: Logger): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const { version } = sources

  new Gauge({
    name: `${PREFIX}build_info`,
    help: 'Version of this coordinator',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1)
  new Gauge({
    name: `${PREFIX}agents`,
    help: 'Agents by state',
    labelNames: ['state'],
    registers,
    async collect() {
      this.reset()
      for (const [state, count] of Object.entries(await sources.agents())) this.set({ state }, count)
    },
  })
  new Gauge({
    name: `${PREFIX}replicas`,
    help: 'Standbys by agent and state',
    labelNames: ['agent', 'state'],
    registers,
    async collect() {
      this.reset()
      for (const { agent, state, count } of await sources.replicas()) this.set({ agent, state }, count)
    },
  })
  const lagBytes = new Gauge({
    name: `${PREFIX}replica_sync_lag_bytes`,
    help: 'Bytes that the replica which would take over is behind',
    labelNames: ['agent'],
    registers,
  })
  new Gauge({
    name: `${PREFIX}replica_sync_lag_seconds`,
    help: 'Age of the oldest change that the replica which would take over does not have',
    labelNames: ['agent'],
    registers,
    async collect() {
      this.reset()
      lagBytes.reset()
      for (const { agent, seconds, bytes } of await sources.lags()) {
        this.set({ agent }, seconds)
        lagBytes.set({ agent }, bytes)
      }
    },
  })
  new Gauge({
    name: `${PREFIX}links`,
    help: 'Agents connected to this coordinator',
    registers,
    collect() {
      this.set(sources.linkCount())
    },
  })
  new Gauge({
    name: `${PREFIX}voters`,
    help: 'Voters of agents connected to this coordinator',
    registers,
    collect() {
      this.set(sources.voterCount())
    },
  })
  new Gauge({
    name: `${PREFIX}ws_clients`,
    help: 'Dashboards connected to this coordinator',
    registers,
    collect() {
      this.set(sources.pageCount())
    },
  })
  const failovers = new Counter({
    name: `${PREFIX}failovers_total`,
    help: 'Moves that have ended',
    labelNames: ['outcome', 'trigger'],
    registers,
  })
  for (const outcome of outcomes) for (const trigger of triggers) failovers.inc({ outcome, trigger }, 0)
  const notices = new Counter({
    name: `${PREFIX}interruption_notices_total`,
    help: 'Interruption notices for primaries',
    labelNames: ['az', 'instance_type'],
    registers,
  })
  const promoted = histogram('failover_detect_to_promoted_seconds', 'From detection to a healthy new primary')
  const noPrimary = histogram('failover_no_primary_seconds', 'How long nobody served')
  const noticeLeft = histogram('failover_notice_remaining_seconds', 'What was left of the notice at the end')
  const steps = new Histogram({
    name: `${PREFIX}failover_step_duration_seconds`,
    help: 'Duration of each step of a move',
    labelNames: ['step'],
    buckets: STEP_BUCKETS,
    registers,
  })

  function histogram(name: string, help: string): Histogram {
    return new Histogram({ name: `${PREFIX}${name}`, help, buckets: STEP_BUCKETS, registers })
  }

  return {
    text: createMetricsText(registry, log),
    registry,
    contentType: registry.contentType,
    failover({ trigger, outcome, detectToPromotedSeconds, noPrimarySeconds, noticeLeftSeconds }) {
      failovers.inc({ outcome, trigger })
      if (detectToPromotedSeconds !== null) promoted.observe(detectToPromotedSeconds)
      if (noPrimarySeconds !== null) noPrimary.observe(noPrimarySeconds)
      if (noticeLeftSeconds !== null) noticeLeft.observe(noticeLeftSeconds)
    },
    step: (step, seconds) => steps.observe({ step }, seconds),
    notice: (az, instanceType) => notices.inc({ az, instance_type: instanceType }),
  }
}
