import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, resolve } from 'node:path'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { type Origin, resolveOptions } from '@understudy/shared/core/options'
import { parse } from 'yaml'
import { type AgentConfig, agentOptions } from './options.ts'

export const DEFAULT_CONFIG_FILE = '/etc/understudy/agent.yaml'

export interface LoadedConfig {
  readonly config: AgentConfig
  readonly file: string
  readonly origins: Readonly<Record<string, Origin>>
}

/**
 * Reads the file and puts flags and environment over it. Relative paths in the file are relative to the file.
 * @throws AppError `config_invalid` with every problem at once
 */
export function loadConfig(
  file: string,
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): LoadedConfig {
  const { values, origins } = resolveOptions(agentOptions, {
    flags,
    env,
    file: readConfigFile(file),
    readSecret: (path) => readFileSync(path, 'utf8'),
  })
  const base = dirname(resolve(file))
  const absolute = (path: string) => (isAbsolute(path) ? path : resolve(base, path))
  const { workload } = values
  const config: AgentConfig = {
    ...values,
    data_dir: absolute(values.data_dir),
    ...(values.commit_socket === undefined ? {} : { commit_socket: absolute(values.commit_socket) }),
    workload: {
      ...workload,
      state: workload.state.map(absolute),
      directory: absolute(workload.directory ?? base),
    },
  }
  return { config, file, origins }
}

function readConfigFile(file: string): Record<string, unknown> {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new AppError(
      'config_invalid',
      `the configuration file ${file} cannot be read (${messageOf(error)})`,
      {
        hint: 'Name another one with --config; docs/agent.md has an example that runs as it is.',
        cause: error,
      },
    )
  }
  try {
    const content: unknown = parse(text) ?? {}
    if (typeof content === 'object' && !Array.isArray(content)) return content as Record<string, unknown>
  } catch (error) {
    throw new AppError('config_invalid', `${file} is not YAML: ${messageOf(error)}`, { cause: error })
  }
  throw new AppError('config_invalid', `${file} must hold a mapping of settings`)
}
