import type { OptionTable } from '@understudy/shared/core/options'
import { type AgentConfig, agentOptions } from '../config/options.ts'

/** Settings that concern one instance only. */
const OWN: ReadonlySet<string> = new Set([
  'data_dir',
  'imds_endpoint',
  'replication_host',
  'replication_port',
  'replication_advertise',
  'voter_port',
  'commit_socket',
  'log_level',
])

/**
 * The effective configuration as it may travel: without secrets, without what concerns one instance only, without
 * passwords in addresses. Of hooks the program and its time, of variables the names: both often carry secrets.
 */
export function sharedConfig(config: AgentConfig): Record<string, unknown> {
  const table: OptionTable = agentOptions
  const { workload, ...settings } = config
  const shared = Object.entries(settings).filter(([key]) => !OWN.has(key) && table[key]?.secret !== true)
  const { hooks, environment, directory: _, ...rest } = workload
  return withoutPasswords({
    ...Object.fromEntries(shared),
    workload: {
      ...rest,
      environment: Object.keys(environment).sort(),
      hooks: Object.fromEntries(
        Object.entries(hooks).map(([name, hook]) => [
          name,
          {
            ...(hook && 'command' in hook
              ? { program: hook.command[0] }
              : { http: hook?.http.split('?')[0] }),
            timeout_seconds: (hook?.timeout_seconds ?? 0) / 1000,
          },
        ]),
      ),
    },
  }) as Record<string, unknown>
}

function withoutPasswords(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(/:\/\/[^/@\s]*@/, '://')
  if (Array.isArray(value)) return value.map(withoutPasswords)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutPasswords(inner)]))
}
