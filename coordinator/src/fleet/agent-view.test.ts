import { instant, mono } from '@understudy/shared/core/time'
import { COORDINATOR, turnover } from '@understudy/shared/failover/certificate'
import { certificateOf } from '@understudy/shared/testkit/certificates'
import { groupBench, P, R } from '@understudy/shared/testkit/group-bench'
import { PAIR } from '@understudy/shared/testkit/voter-bench'
import { expect, test } from 'vitest'
import type { AgentRow } from '../storage/database.ts'
import { type AgentFacts, toAgentView } from './agent-view.ts'

const row: AgentRow = {
  ...{ id: 'agent-1', client_id: 'client', name: 'web-1', instance_id: P, replica_count: 1, created_at: 0 },
  ...{ epoch: 1, term: 1, successor_id: null, voted_epoch: 1, voted_for: P, voted_digest: null, outdated: 0 },
  ...{
    auto_switch_enabled: 1,
    auto_replica_enabled: 1,
    manual_replica_enabled: 1,
    terminate_after_switch: 1,
  },
  ...{ rebalance_threshold: 0.3, on_rebalance: 'replica', min_replicas: 1, on_demand_fallback: 0 },
  ...{ state_directories: 1, last_heartbeat_at: null, last_failover_at: null },
}
const factsOf = (group: AgentFacts['group']): AgentFacts => ({
  ...{ row, group, instance: undefined, replicas: [], heartbeat: undefined, heardAt: undefined },
  ...{ spotPrice: null, onDemandPrice: null, atRisk: false, stateSince: instant(0), offlineAfter: 10_000 },
  now: { wall: instant(0), mono: mono(0) },
})

test('who is primary, and in which epoch, is what the newest certificate says, whatever has been written down so far', () => {
  const bench = groupBench()
  const shown = () => {
    const { instance_id: primary, epoch, term, successor_id: successor } = toAgentView(factsOf(bench.group))
    return { primary, epoch, term, successor }
  }
  expect(shown()).toEqual({ primary: P, epoch: 1, term: 1, successor: null })
  bench.restore({ certificate: PAIR })
  expect(shown()).toEqual({ primary: P, epoch: 2, term: 1, successor: R })
  const moved = turnover(PAIR, 3)
  if (!moved) throw new Error('PAIR has a successor')
  bench.restore({ certificate: certificateOf(moved, P, COORDINATOR) })
  expect(shown()).toEqual({ primary: R, epoch: 3, term: 3, successor: P })
})
