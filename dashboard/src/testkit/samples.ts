import type { AgentView, ReplicaView } from '@understudy/shared/protocol/agents'
import type { DecisionView } from '@understudy/shared/protocol/decision-log'
import type { DrillView } from '@understudy/shared/protocol/drills'
import type { IncidentStep, IncidentView } from '@understudy/shared/protocol/incidents'
import type { LiveFrame } from '@understudy/shared/protocol/live'
import type { PoolView } from '@understudy/shared/protocol/market'
import type { PromotionPlan } from '@understudy/shared/protocol/replicas'

/** What the coordinator sends, as it sends it; every test changes what it is about. */

export const sampleReplica = (changes: Partial<ReplicaView> = {}): ReplicaView => ({
  id: '9520f407-c68f-4767-9a36-ca6963a253bd',
  agent_id: 'agent-demo-1',
  instance_id: 'i-demo006',
  type: 'manual',
  status: 'ready',
  is_active: true,
  pool_id: 'c6i.large@us-east-1d',
  availability_zone: 'us-east-1d',
  instance_type: 'c6i.large',
  spot_price: 0.0293,
  created_by: 'demo',
  created_at: '2026-11-21T02:37:26.520Z',
  ready_at: '2026-11-21T02:37:27.912Z',
  promoted_at: null,
  terminated_at: null,
  sync_percent: 100,
  bytes_done: 2698,
  bytes_total: 2698,
  bytes_per_second: null,
  lag_bytes: 0,
  lag_ms: 0,
  notice: false,
  life_cycle: 'spot',
  reason: null,
  failure: null,
  ...changes,
})

export const sampleAgent = (changes: Partial<AgentView> = {}): AgentView => ({
  id: 'agent-demo-1',
  name: 'api-1',
  client_id: 'acme',
  status: 'online',
  state: 'healthy',
  reason: 'the workload runs',
  state_since: '2026-11-21T02:37:26.034Z',
  instance_id: 'i-demo001',
  instance: {
    id: 'i-demo001',
    instance_type: 'm5.large',
    availability_zone: 'us-east-1a',
    pool_id: 'm5.large@us-east-1a',
    life_cycle: 'spot',
    launched_at: '2026-11-21T02:37:24.000Z',
  },
  pool_id: 'm5.large@us-east-1a',
  spot_price: 0.0425,
  on_demand_price: 0.096,
  epoch: 2,
  term: 1,
  successor_id: 'i-demo007',
  phase: 'steady',
  workload: 'running',
  lease: { mode: 'leased', remaining_ms: 885 },
  replica_count: 1,
  replicas: [sampleReplica()],
  lag_ms: 0,
  lag_bytes: 0,
  degraded: [],
  last_heartbeat_at: '2026-11-21T02:38:19.453Z',
  last_failover_at: null,
  settings: {
    auto_switch_enabled: true,
    auto_replica_enabled: true,
    manual_replica_enabled: true,
    terminate_after_switch: true,
    rebalance_threshold: 0.3,
    on_rebalance: 'replica',
    min_replicas: 0,
    on_demand_fallback: false,
  },
  ...changes,
})

const steps: readonly [name: string, t: number, took: number | null, by: string][] = [
  ['notice-received', 0, null, 'coordinator'],
  ['hand-over-ordered', 4.7, null, 'coordinator'],
  ['workload-frozen', 9.1, 6.3, 'i-demo002'],
  ['state-drained', 11.1, 0.5, 'i-demo002'],
  ['final-sync', 15.6, 9.4, 'i-demo002'],
  ['traffic-cut', 28.2, 10, 'coordinator'],
  ['epoch-moved', 28.8, 4.8, 'coordinator'],
  ['workload-stopped', 30.1, 26.8, 'i-demo002'],
  ['state-in-place', 59.1, 2.1, 'i-demo007'],
  ['workload-started', 59.6, 7.7, 'i-demo007'],
  ['health-check', 71.6, 144.8, 'i-demo007'],
  ['address-moved', 220.3, 2.8, 'coordinator'],
]

export const sampleStep = (
  changes: Partial<IncidentStep> & Pick<IncidentStep, 'step' | 't_ms'>,
): IncidentStep => ({
  seq: 1,
  duration_ms: null,
  ok: true,
  reported_by: 'coordinator',
  clock: 'coordinator',
  at: '2026-11-21T02:37:41.477Z',
  uncertainty_ms: 0,
  detail: '',
  ...changes,
})

/** A move after a notice, with a replica that was ready: 220 ms, of which 215 without a primary. */
export const sampleIncident = (changes: Partial<IncidentView> = {}): IncidentView => ({
  id: 'ffef6a9a-50c0-4654-abf5-03b50297e32b',
  agent_id: 'agent-demo-2',
  agent_name: 'web-1',
  signal_type: 'termination-notice',
  trigger: 'notice',
  instance_id: 'i-demo002',
  pool_id: 'm6i.large@us-east-1c',
  detected_at: '2026-11-21T02:37:41.476Z',
  deadline_at: '2026-11-21T02:39:41.001Z',
  seen_via: [{ via: 'imds', after_ms: 0 }],
  replica_id: '50419fa0-8474-4966-9aec-98fc195c981e',
  new_instance_id: 'i-demo007',
  new_pool_id: 'c6i.large@us-east-1d',
  response_action: 'promoted-existing-replica',
  outcome: 'promoted',
  outcome_reason: 'i-demo007 took over at epoch 2',
  success: true,
  failover_completed: true,
  failover_time_ms: 220,
  no_primary_ms: 215,
  no_primary_from_t_ms: 9.1,
  old_epoch: 1,
  new_epoch: 2,
  interruption_probability: null,
  loss: {
    kind: 'none',
    state_through: null,
    at_most_ms: 0,
    bytes_behind: 0,
    sentence: 'nothing: the replica confirmed every byte before the old primary gave up its epoch',
  },
  closed_at: '2026-11-21T02:37:41.700Z',
  steps: steps.map(([step, t_ms, duration_ms, by], index) =>
    sampleStep({ seq: index + 1, step, t_ms, duration_ms, reported_by: by, clock: by }),
  ),
  ...changes,
})

/** The same while it runs: nobody knows yet what will have come of it. */
export const runningIncident = (changes: Partial<IncidentView> = {}): IncidentView =>
  sampleIncident({
    outcome: 'running',
    outcome_reason: '',
    new_instance_id: null,
    new_pool_id: null,
    success: null,
    failover_completed: false,
    failover_time_ms: null,
    no_primary_ms: null,
    no_primary_from_t_ms: null,
    new_epoch: null,
    loss: null,
    closed_at: null,
    ...changes,
  })

export const samplePlan = (changes: Partial<PromotionPlan> = {}): PromotionPlan => ({
  agent_id: 'agent-demo-1',
  agent_name: 'api-1',
  replica_id: '9520f407-c68f-4767-9a36-ca6963a253bd',
  epoch: 1,
  possible: true,
  reason: 'the last of the state is sent and compared before the old primary stops: no data is lost',
  stops: { instance_id: 'i-demo001', pool_id: 'm5.large@us-east-1a' },
  starts: { instance_id: 'i-demo006', pool_id: 'c6i.large@us-east-1d' },
  state_behind: { ms: 0, bytes: 0 },
  expected_gap_ms: 215,
  expected_gap_samples: 1,
  price_change: -0.0129,
  undo: 'Promote back: at once if the old primary is kept as a standby, else once a new replica is ready',
  ...changes,
})

export const sampleSnapshot = (
  seq: number,
  agents: readonly AgentView[] = [sampleAgent()],
  incidents: readonly IncidentView[] = [],
): Extract<LiveFrame, { type: 'snapshot' }> => ({
  type: 'snapshot',
  seq,
  at: 1_000_000 + seq,
  version: '0.1.0',
  mode: 'demo',
  content: {
    agents: Object.fromEntries(agents.map((agent) => [agent.id, agent])),
    incidents: Object.fromEntries(incidents.map((incident) => [incident.id, incident])),
    demo: { seed: 1, story: [], counters: [] },
  },
})

export const samplePool = (poolId: string, changes: Partial<PoolView> = {}): PoolView => {
  const [type = '', zone = ''] = poolId.split('@')
  return {
    pool_id: poolId,
    instance_type: type,
    availability_zone: zone,
    az_id: null,
    region: zone.slice(0, -1),
    spot_price: 0.04,
    price_at: '2026-11-21T02:55:00.000Z',
    data_source: 'history',
    confidence: 1,
    on_demand_price: 0.096,
    discount_percent: 58.33,
    interruption_band: 1,
    interruption_range: '5-10%',
    band_as_of: '2026-11-20T00:00:00.000Z',
    risk: null,
    ...changes,
  }
}

export const sampleDecision = (changes: Partial<DecisionView> = {}): DecisionView => ({
  id: '5f0b3c4e-2f1d-4c58-9a2e-0c6f9a3f6a01',
  at: '2026-11-21T02:40:00.000Z',
  cycle_id: '0f0b3c4e-2f1d-4c58-9a2e-0c6f9a3f6a02',
  agent_id: 'agent-demo-1',
  instance_id: 'i-demo001',
  pool_id: 'm5.large@us-east-1a',
  pipeline_mode: 'CLUSTER_FULL',
  decision: 'STAY',
  code: 'ALREADY_BEST',
  reason: 'no pool is cheaper by enough',
  aws_signal: 'NONE',
  crash_probability: 0.04,
  p_interruption_12h: 0.001,
  risk_source: 'MODEL',
  model: 'model-0123456789ab',
  target_pool_id: null,
  gain: null,
  action: null,
  alert: null,
  actuator: null,
  actuator_level: 'dry_run',
  result: null,
  execution_time_ms: 2,
  ...changes,
})

/** A rehearsal that has gone well, the first of its agent. */
export const sampleDrill = (changes: Partial<DrillView> = {}): DrillView => {
  const none = { count: 0, failed: 0, last_at: null, detect_to_promoted_ms: null, no_primary_ms: null }
  return {
    id: '1f0b3c4e-2f1d-4c58-9a2e-0c6f9a3f6a03',
    agent_id: 'agent-demo-1',
    agent_name: 'api-1',
    status: 'done',
    reason: 'i-demo006 took over; i-demo001 stands by',
    requested_by: 'demo',
    switch_back: false,
    started_at: '2026-11-21T02:40:00.000Z',
    ended_at: '2026-11-21T02:40:01.000Z',
    moves: [
      {
        direction: 'out',
        incident_id: 'ffef6a9a-50c0-4654-abf5-03b50297e32b',
        from_instance_id: 'i-demo001',
        to_instance_id: 'i-demo006',
        outcome: 'promoted',
        outcome_reason: 'i-demo006 took over at epoch 2',
        detect_to_promoted_ms: 412,
        no_primary_ms: 180,
        bytes_behind: 0,
        loss: sampleIncident().loss,
        health: { ok: true, said: 'healthy', took_ms: 12 },
        steps: [],
      },
    ],
    before: { drills: none, incidents: none },
    comparison:
      'nobody served for 180 ms: no drills before to compare with, no incidents before to compare with',
    ...changes,
  }
}
