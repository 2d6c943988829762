import {
  flag,
  logLevel,
  number,
  type OptionTable,
  type OptionValues,
  wholeNumber,
} from '@understudy/shared/core/options'
import { z } from 'zod'
import { mlServerOptions } from './ml-server-options.ts'
import { modelOptions } from './model-options.ts'
import { regionList } from './option-lists.ts'

/** Every setting of the coordinator. `--help`, docs/configuration.md and the checks are generated from this table. */
export const coordinatorOptions = {
  api_host: {
    schema: z.string().min(1).default('127.0.0.1'),
    env: 'API_HOST',
    also: 'ML_SERVER_HOST',
    value: '<address>',
    doc: 'Address to listen on',
  },
  api_port: {
    schema: wholeNumber(0, 65_535).default(8000),
    env: 'API_PORT',
    also: 'ML_SERVER_PORT',
    value: '<port>',
    doc: 'Port of the API, the dashboard, the WebSockets and /metrics',
  },
  public_url: {
    schema: z.url({ protocol: /^https?$/ }).optional(),
    env: 'UNDERSTUDY_PUBLIC_URL',
    value: '<url>',
    doc: 'Address under which new instances reach this coordinator; made from host and port by default',
  },
  database: {
    schema: z.string().min(1).optional(),
    env: 'UNDERSTUDY_DATABASE',
    value: '<file>',
    doc: 'The SQLite database, where none of PostgreSQL is named below (default understudy.db)',
  },
  database_url: {
    schema: z
      .string()
      .refine(isPostgresUrl, { error: 'must be like postgres://user:password@host:5432/database' })
      .optional(),
    env: 'DATABASE_URL',
    secret: true,
    doc: 'A PostgreSQL database (15 or newer) in place of SQLite, as postgres://user:password@host:5432/database',
  },
  db_host: {
    schema: z.string().min(1).optional(),
    env: 'DB_HOST',
    value: '<host>',
    doc: 'The same in parts, in place of DATABASE_URL: host of PostgreSQL, or the directory of its socket',
  },
  db_port: {
    schema: wholeNumber(1, 65_535).optional(),
    env: 'DB_PORT',
    value: '<port>',
    doc: 'Its port, with DB_HOST (default 5432)',
  },
  db_name: {
    schema: z.string().min(1).optional(),
    env: 'DB_NAME',
    value: '<name>',
    doc: 'Name of the database, with DB_HOST (default understudy)',
  },
  db_user: {
    schema: z.string().min(1).optional(),
    env: 'DB_USER',
    value: '<name>',
    doc: 'User of the database, with DB_HOST (default understudy)',
  },
  db_password: {
    schema: z.string().optional(),
    env: 'DB_PASSWORD',
    secret: true,
    doc: 'Password of that user, with DB_HOST',
  },
  cloud: {
    schema: z.enum(['manual', 'simulated']).default('manual'),
    env: 'UNDERSTUDY_CLOUD',
    value: '<name>',
    doc: 'Where replicas come from: manual (you start them) or simulated',
  },
  simulated_cloud_url: {
    schema: z.url({ protocol: /^http$/ }).optional(),
    env: 'SIMULATED_CLOUD_URL',
    value: '<url>',
    doc: 'The simulated cloud, when `cloud` is simulated',
  },
  aws_region: {
    schema: regionList().default([]),
    env: 'AWS_REGION',
    value: '<regions>',
    doc: 'Regions whose instance types, zones and on-demand prices are kept current, and the price histories of the types in use there, separated by commas; none means only the Spot Advisor',
  },
  ec2_endpoint: {
    schema: z
      .url({ protocol: /^https?$/ })
      .refine((text) => text.startsWith('https:') || isLoopback(text), {
        error: 'must be an https address: credentials go over it',
      })
      .optional(),
    env: 'UNDERSTUDY_EC2_ENDPOINT',
    value: '<url>',
    doc: "Where EC2 is asked for prices, types and zones, in place of AWS's own address",
  },
  spot_advisor_url: {
    schema: z
      .url({ protocol: /^https?$/ })
      .default('https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json'),
    env: 'UNDERSTUDY_SPOT_ADVISOR_URL',
    value: '<url>',
    doc: 'The Spot Advisor file, looked at every 6 hours',
  },
  gap_filler_enabled: {
    schema: flag().default(true),
    env: 'GAP_FILLER_ENABLED',
    doc: 'Whether gaps in prices are looked for every 15 minutes and filled, and those since the training of the active model at start and when it is activated; by hand they always can be',
  },
  price_retention: {
    schema: number(8, 3650).default(400),
    env: 'UNDERSTUDY_PRICE_RETENTION',
    value: '<days>',
    doc: 'How long prices are kept, in days; those of imported files are kept for good',
  },
  submission_retention: {
    schema: number(1, 3650).default(30),
    env: 'UNDERSTUDY_SUBMISSION_RETENTION',
    value: '<days>',
    doc: 'How long the audit of what agents have submitted is kept, in days',
  },
  switch_cost: {
    schema: number(0, 1000).optional(),
    env: 'UNDERSTUDY_SWITCH_COST',
    value: '<dollars>',
    doc: 'What a change of primary costs you beside the time in which two instances run, such as transfer between zones, in dollars: savings are net of it; without it they say that nobody has measured it',
  },
  on_demand_rate: {
    schema: number(1, 100).default(100),
    env: 'UNDERSTUDY_ON_DEMAND_RATE',
    value: '<percent>',
    doc: 'What you would really pay on demand, in per cent of the list price, as with a savings plan: savings are measured against it',
  },
  identity_certificates: {
    schema: z.string().optional(),
    env: 'UNDERSTUDY_IDENTITY_CERTIFICATES',
    value: '<directory>',
    doc: "AWS's certificates for instance identity documents, one <region>.pem each; without them nothing can join",
  },
  certificate_lifetime: {
    schema: number(0.05, 720).default(24),
    env: 'UNDERSTUDY_CERTIFICATE_LIFETIME',
    value: '<hours>',
    doc: 'How long the certificates are valid with which agents know each other, in hours; a new one is issued after a third of it',
  },
  heartbeat_timeout: {
    schema: number(1, 86_400).default(300),
    env: 'HEARTBEAT_TIMEOUT',
    value: '<seconds>',
    doc: 'After how much silence an agent is shown as offline, in seconds',
  },
  replica_cooldown: {
    schema: number(0.001, 168).default(2),
    env: 'UNDERSTUDY_REPLICA_COOLDOWN',
    value: '<hours>',
    doc: 'How long a replica that was made because the primary was at risk is kept when no notice has followed, in hours',
  },
  empty_pool_for: {
    schema: number(0.1, 86_400).default(300),
    env: 'UNDERSTUDY_EMPTY_POOL_FOR',
    value: '<seconds>',
    doc: 'How long a pool that has refused a launch is passed over, in seconds; a standby that no pool had room for is tried again after as long, and after a minute at the latest',
  },
  moves_at_once: {
    schema: wholeNumber(1, 10_000).default(8),
    env: 'UNDERSTUDY_MOVES_AT_ONCE',
    value: '<count>',
    doc: 'How many workloads are moved at a time when notices come together; the others serve until their turn, for a sixth of the time that is left at most',
  },
  heartbeat_interval: {
    schema: number(0.05, 30).default(0.15),
    env: 'UNDERSTUDY_HEARTBEAT_INTERVAL',
    value: '<seconds>',
    doc: 'How often the voter of each instance is heard, and the lease of a primary renewed, in seconds',
  },
  lease: {
    schema: number(0.2, 120).default(1),
    env: 'UNDERSTUDY_LEASE',
    value: '<seconds>',
    doc: 'How long a primary with a successor runs on without hearing from it or from the coordinator, in seconds; a loss without a notice takes this long to be acted on',
  },
  fence_budget: {
    schema: number(0.02, 30).default(0.2),
    env: 'UNDERSTUDY_FENCE_BUDGET',
    value: '<seconds>',
    doc: 'How long before its lease ends a primary begins to freeze its workload, in seconds',
  },
  environment: {
    schema: z
      .string()
      .transform((text) => text.toUpperCase())
      .pipe(z.enum(['TEST', 'PROD'], { error: 'must be TEST or PROD' }))
      .optional(),
    env: 'ENV',
    value: '<name>',
    doc: 'TEST or PROD; in TEST no cycle of decisions runs by itself, and signals of AWS may be made up (default TEST)',
  },
  prod: {
    schema: flag().default(false),
    env: 'UNDERSTUDY_PROD',
    doc: 'The same as ENV=PROD, where ENV is not set',
  },
  k8s_config_path: {
    schema: z.string().min(1).optional(),
    env: 'K8S_CONFIG_PATH',
    value: '<file>',
    doc: 'A kubeconfig: where ENV is not set, one that is valid means ENV=PROD',
  },
  decision_cycle: {
    schema: number(0, 1440).default(5),
    env: 'UNDERSTUDY_DECISION_CYCLE',
    value: '<minutes>',
    doc: 'How often the decision pipeline looks at the whole fleet, in minutes; 0 is never, and in ENV=TEST it is done by hand only',
  },
  decision_retention: {
    schema: number(1, 3650).default(30),
    env: 'UNDERSTUDY_DECISION_RETENTION',
    value: '<days>',
    doc: 'How long decisions are kept with all that they were made from, so that each can be replayed, in days',
  },
  experiment_retention: {
    schema: number(8, 3650).default(400),
    env: 'UNDERSTUDY_EXPERIMENT_RETENTION',
    value: '<days>',
    doc: 'How long decisions of targets in the Lab and what came of switches are kept, in days; those of an experiment as long after its end',
  },
  max_crash_probability: {
    schema: number(0.01, 1).default(0.85),
    env: 'MAX_CRASH_PROBABILITY',
    value: '<probability>',
    doc: 'The safety gate: a pool of which the model says this or more is not launched into, and left',
  },
  max_historic_interrupt_rate: {
    schema: number(0.05, 1).default(0.2),
    env: 'MAX_HISTORIC_INTERRUPT_RATE',
    value: '<share>',
    doc: 'Pools of which the Spot Advisor says that this share or more is interrupted a month are not launched into; 1 lets all of them in',
  },
  auto_switch_enabled: {
    schema: flag().default(true),
    env: 'AUTO_SWITCH_ENABLED',
    doc: 'What new agents begin with for automatic moves to cheaper pools; none is made before an operator sets the level of the agent to live',
  },
  ...modelOptions,
  ...mlServerOptions,
  notifications: {
    schema: z.string().min(1).optional(),
    env: 'UNDERSTUDY_NOTIFICATIONS',
    value: '<file>',
    doc: 'A YAML file that says who is told of incidents, where and in which words: docs/notifications.md; without it nobody is',
  },
  dashboard_dir: {
    schema: z.string().optional(),
    env: 'UNDERSTUDY_DASHBOARD_DIR',
    value: '<directory>',
    doc: 'The built dashboard; found beside the program by default',
  },
  log_level: {
    schema: logLevel(),
    env: 'LOG_LEVEL',
    value: '<level>',
    doc: 'debug, info, warn, error or silent',
  },
} as const satisfies OptionTable

export type CoordinatorConfig = OptionValues<typeof coordinatorOptions>

function isPostgresUrl(text: string): boolean {
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text)) return false
  return new URL(text).pathname.length > 1
}

const isLoopback = (text: string): boolean =>
  /^(127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/.test(new URL(text).hostname)
