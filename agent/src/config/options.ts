import {
  flag,
  logLevel,
  number,
  type OptionTable,
  type OptionValues,
  wholeNumber,
} from '@understudy/shared/core/options'
import { z } from 'zod'
import { IMDS_DEFAULT_ENDPOINT } from '../imds/imds-client.ts'
import { marketOptions } from './market-options.ts'
import { snapshotOptions } from './snapshot-options.ts'
import { workloadSchema } from './workload.ts'

/** Every setting of the agent. `--help`, docs/configuration.md and the checks are generated from this table. */
export const agentOptions = {
  coordinator_url: {
    schema: z.url({ protocol: /^https?$/, error: 'must be an http or https address' }),
    env: 'COORDINATOR_URL',
    value: '<url>',
    doc: 'Address of the coordinator',
  },
  join_token: {
    schema: z.string().min(16).optional(),
    env: 'JOIN_TOKEN',
    secret: true,
    doc: 'One-time token from `coordinator token join`; needed until the agent has enrolled',
  },
  data_dir: {
    schema: z.string().default('/var/lib/understudy'),
    env: 'AGENT_DATA_DIR',
    value: '<directory>',
    doc: "The agent's own state; on the same file system as the workload's",
  },
  imds_endpoint: {
    schema: z.url({ protocol: /^http$/ }).default(IMDS_DEFAULT_ENDPOINT),
    env: 'IMDS_ENDPOINT',
    value: '<url>',
    doc: 'The instance metadata service',
  },
  interruption_check_interval: {
    schema: number(0.1, 60).default(2),
    env: 'INTERRUPTION_CHECK_INTERVAL',
    value: '<seconds>',
    doc: 'How often notices are looked for, in seconds',
  },
  replication_host: {
    schema: z.string().min(1).default('0.0.0.0'),
    env: 'UNDERSTUDY_REPLICATION_HOST',
    value: '<address>',
    doc: 'Where replicas may dial in',
  },
  replication_port: {
    schema: wholeNumber(0, 65_535).default(7070),
    env: 'UNDERSTUDY_REPLICATION_PORT',
    value: '<port>',
    doc: 'Port for replicas; 0 lets the system choose',
  },
  voter_port: {
    schema: wholeNumber(0, 65_535).optional(),
    env: 'UNDERSTUDY_VOTER_PORT',
    value: '<port>',
    doc: 'Port on which replicas vote with their primary; the one after replication_port by default, 0 lets the system choose',
  },
  replication_advertise: {
    schema: z.string().min(1).optional(),
    env: 'UNDERSTUDY_REPLICATION_ADVERTISE',
    value: '<host[:port[:voter-port]]>',
    doc: 'Address that replicas are told, if it is not the private address of the instance',
  },
  commit_socket: {
    schema: z.string().min(1).optional(),
    env: 'UNDERSTUDY_COMMIT_SOCKET',
    value: '<path>',
    doc: 'Unix socket on which a workload of another user may wait for durability; for the group of its directory, off by default',
  },
  replication_memory: {
    schema: wholeNumber(8, 4096).default(64),
    env: 'UNDERSTUDY_REPLICATION_MEMORY',
    value: '<MiB>',
    doc: 'What may be under way to all replicas together and not taken by them yet, in MiB',
  },
  replication_bandwidth: {
    schema: number(0, 100_000).default(0),
    env: 'UNDERSTUDY_REPLICATION_BANDWIDTH',
    value: '<MiB/s>',
    doc: 'Content sent to all replicas together, in MiB per second; 0 is no limit. The last of the state before a hand-over does not wait for it',
  },
  freeze_budget: {
    schema: number(0.5, 60).default(6),
    env: 'UNDERSTUDY_FREEZE_BUDGET',
    value: '<seconds>',
    doc: 'A planned move is called off, and the workload goes on, when the replica has not confirmed the last of the state so long after the freeze, in seconds. After a notice the deadline decides instead',
  },
  sync_update_interval: {
    schema: number(1, 3600).default(10),
    env: 'SYNC_UPDATE_INTERVAL',
    value: '<seconds>',
    doc: 'How often a replica writes its progress to the log, in seconds; the coordinator hears it with every heartbeat',
  },
  rebalance_threshold: {
    schema: number(0, 1).default(0.3),
    env: 'REBALANCE_THRESHOLD',
    value: '<probability>',
    doc: 'Probability of an interruption above which a rebalance recommendation brings a replica',
  },
  auto_replica_enabled: {
    schema: flag().default(true),
    env: 'AUTO_REPLICA_ENABLED',
    doc: 'Replicas may be created without being asked for',
  },
  manual_replica_enabled: {
    schema: flag().default(true),
    env: 'MANUAL_REPLICA_ENABLED',
    doc: 'Replicas may be created by hand',
  },
  ...snapshotOptions,
  ...marketOptions,
  log_level: {
    schema: logLevel(),
    env: 'LOG_LEVEL',
    value: '<level>',
    doc: 'debug, info, warn, error or silent',
  },
  workload: {
    schema: workloadSchema,
    flag: false,
    doc: 'What is protected: `state` directories, patterns `include`, `exclude` and `priority` for names in them, and the hooks `start`, `stop`, `freeze`, `thaw`, `health`',
  },
} as const satisfies OptionTable

export type AgentConfig = OptionValues<typeof agentOptions>

/** The port of the voter; 0 lets the system choose, as it does for replication_port. */
export const voterPortOf = ({ voter_port, replication_port }: AgentConfig): number =>
  voter_port ?? (replication_port === 0 || replication_port === 65_535 ? 0 : replication_port + 1)
