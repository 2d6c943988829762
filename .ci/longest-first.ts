import { relative, sep } from 'node:path'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that take seconds, and how many, about. Only the order of a run depends on it. */
const seconds: Readonly<Record<string, number>> = {
  'agent/src/guard/guard.test.ts': 20,
  'agent/src/imds/imds-client.test.ts': 7,
  'agent/src/replication/any-edits.test.ts': 12,
  'agent/src/replication/bad-links.test.ts': 18,
  'agent/src/replication/crash.test.ts': 10,
  'agent/src/replication/final-sync.test.ts': 12,
  'agent/src/replication/large-changes.test.ts': 12,
  'agent/src/replication/mapped-files.test.ts': 8,
  'agent/src/replication/promises.test.ts': 8,
  'agent/src/replication/verification.test.ts': 10,
  'agent/src/snapshot/snapshot.test.ts': 20,
  'agent/src/voter/voter.test.ts': 20,
  'coordinator/src/commands/backtest.test.ts': 6,
  'coordinator/src/market/backfill.test.ts': 7,
  'coordinator/src/models/host/model-host.test.ts': 5,
  'coordinator/src/models/models.test.ts': 30,
  'coordinator/src/models/serving.test.ts': 17,
  'shared/src/failover/failover.simulation.test.ts': 60,
  'test/contract/acting.test.ts': 12,
  'test/contract/api.test.ts': 26,
  'test/contract/lab.test.ts': 9,
  'test/contract/link.test.ts': 18,
  'test/contract/manual.test.ts': 13,
  'test/contract/market-sources.test.ts': 14,
  'test/contract/market.test.ts': 8,
  'test/contract/models.test.ts': 15,
  'test/contract/predictions.test.ts': 8,
  'test/contract/votes.test.ts': 20,
  'test/e2e/agent-command-line.test.ts': 8,
  'test/e2e/agent-commit.test.ts': 15,
  'test/e2e/agent-record.test.ts': 15,
  'test/e2e/bench-failover.test.ts': 20,
  'test/e2e/bench-replication.test.ts': 8,
  'test/e2e/coordinator-command-line.test.ts': 25,
  'test/e2e/demo-leaves-nothing.test.ts': 22,
  'test/e2e/market.test.ts': 13,
  'test/e2e/own-decisions.test.ts': 35,
  'test/e2e/running-agent.test.ts': 25,
  'test/e2e/snapshots.test.ts': 40,
  'test/e2e/whole-system.test.ts': 70,
  'test/faults/faults.test.ts': 180,
  'test/faults/mutations.test.ts': 12,
}

/** The longest first, so that no worker has a long file left when the others have nothing to do any more. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const expected = ({ moduleId }: TestSpecification): number =>
      seconds[relative(this.ctx.config.root, moduleId).split(sep).join('/')] ?? 0
    // What shares a worker (`isolate: false`) stays together, behind everything else.
    const shares = ({ project }: TestSpecification): number => Number(!project.config.isolate)
    const order = new Map((await super.sort(files)).map((file, index) => [file, index]))
    return [...files].sort(
      (a, b) =>
        shares(a) - shares(b) || expected(b) - expected(a) || (order.get(a) ?? 0) - (order.get(b) ?? 0),
    )
  }
}
