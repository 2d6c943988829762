import {
  flag,
  logLevel,
  number,
  type OptionTable,
  type OptionValues,
  wholeNumber,
} from '@understudy/shared/core/options'
import { z } from 'zod'

/** Every setting of the coordinator. `--help`, docs/configuration.md and the checks are generated from this table. */
export const coordinatorOptions = {
  api_host: {
    schema: z.string().min(1).default('127.0.0.1'),
    env: 'API_HOST',
    value: '<address>',
    doc: 'Address to listen on',
  },
  api_port: {
    schema: wholeNumber(0, 65_535).default(8000),
    env: 'API_PORT',
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
    schema: z.string().min(1).default('understudy.db'),
    env: 'UNDERSTUDY_DATABASE',
    value: '<file>',
    doc: 'The SQLite database',
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
  auto_switch_enabled: {
    schema: flag().default(true),
    env: 'AUTO_SWITCH_ENABLED',
    doc: 'What new agents begin with for automatic moves to cheaper pools',
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
