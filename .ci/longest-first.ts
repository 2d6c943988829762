import { relative, sep } from 'node:path'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that take seconds, and how many, about. Only the order of a run depends on it. */
const seconds: Readonly<Record<string, number>> = {
  'agent/src/guard/guard.test.ts': 28,
  'agent/src/imds/imds-client.test.ts': 7,
  'agent/src/replication/any-edits.test.ts': 10,
  'agent/src/replication/bad-links.test.ts': 22,
  'agent/src/replication/crash.test.ts': 17,
  'agent/src/replication/final-sync.test.ts': 14,
  'agent/src/replication/large-changes.test.ts': 15,
  'agent/src/replication/mapped-files.test.ts': 8,
  'agent/src/replication/promises.test.ts': 6,
  'agent/src/replication/store.test.ts': 10,
  'agent/src/replication/verification.test.ts': 15,
  'agent/src/snapshot/snapshot.test.ts': 40,
  'agent/src/voter/voter.test.ts': 27,
  'coordinator/src/commands/backtest.test.ts': 6,
  'coordinator/src/commands/import.test.ts': 8,
  'coordinator/src/models/away-store.test.ts': 8,
  'coordinator/src/models/host/model-host.test.ts': 5,
  'coordinator/src/models/models.test.ts': 80,
  'coordinator/src/models/serving.test.ts': 22,
  'coordinator/src/storage/storage.test.ts': 15,
  'shared/src/failover/failover.simulation.test.ts': 60,
  'test/contract/acting.test.ts': 12,
  'test/contract/api.test.ts': 30,
  'test/contract/decisions.test.ts': 12,
  'test/contract/drills.test.ts': 15,
  'test/contract/engines.test.ts': 10,
  'test/contract/lab.test.ts': 12,
  'test/contract/link.test.ts': 15,
  'test/contract/manual.test.ts': 15,
  'test/contract/market-sources.test.ts': 20,
  'test/contract/market.test.ts': 14,
  'test/contract/models.test.ts': 24,
  'test/contract/notifications.test.ts': 8,
  'test/contract/policies.test.ts': 16,
  'test/contract/predictions.test.ts': 14,
  'test/contract/votes.test.ts': 24,
  'test/e2e/agent-command-line.test.ts': 20,
  'test/e2e/agent-commit.test.ts': 30,
  'test/e2e/agent-record.test.ts': 40,
  'test/e2e/bench-failover.test.ts': 80,
  'test/e2e/bench-replication.test.ts': 15,
  'test/e2e/coordinator-command-line.test.ts': 40,
  'test/e2e/demo-leaves-nothing.test.ts': 35,
  'test/e2e/imds-sim.test.ts': 8,
  'test/e2e/market.test.ts': 38,
  'test/e2e/own-decisions.test.ts': 40,
  'test/e2e/policies.test.ts': 100,
  'test/e2e/running-agent.test.ts': 32,
  'test/e2e/snapshots.test.ts': 36,
  'test/e2e/whole-system.test.ts': 75,
  'test/faults/faults.test.ts': 180,
  'test/faults/mutations.test.ts': 14,
}

/** The longest first, so that no worker has a long file left when the others have nothing to do any more. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const expected = ({ moduleId }: TestSpecification): number =>
      seconds[relative(this.ctx.config.root, moduleId).split(sep).join('/')] ?? 0
    // What shares a worker (`isolate: false`) stays together, project by project, behind everything else.
    const shares = ({ project }: TestSpecification): string => (project.config.isolate ? '' : project.name)
    const order = new Map((await super.sort(files)).map((file, index) => [file, index]))
    return [...files].sort(
      (a, b) =>
        shares(a).localeCompare(shares(b)) ||
        expected(b) - expected(a) ||
        (order.get(a) ?? 0) - (order.get(b) ?? 0),
    )
  }
}
