import { readFileSync } from 'node:fs'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { resolveOptions } from '@understudy/shared/core/options'
import { parse } from 'yaml'
import { type CoordinatorConfig, coordinatorOptions } from './options.ts'

/** Flags over environment over file over defaults. @throws AppError `config_invalid` with every problem at once */
export function loadConfig(
  file: string | undefined,
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): CoordinatorConfig {
  const { values } = resolveOptions(coordinatorOptions, {
    flags,
    env,
    file: file === undefined ? {} : readConfigFile(file),
    readSecret: (path) => readFileSync(path, 'utf8'),
  })
  return values
}

function readConfigFile(file: string): Record<string, unknown> {
  try {
    const content: unknown = parse(readFileSync(file, 'utf8')) ?? {}
    if (typeof content === 'object' && !Array.isArray(content)) return content as Record<string, unknown>
  } catch (cause) {
    throw new AppError(
      'config_invalid',
      `the configuration file ${file} cannot be read (${messageOf(cause)})`,
      {
        hint: 'It must be YAML: a mapping of settings.',
        cause,
      },
    )
  }
  throw new AppError('config_invalid', `${file} must hold a mapping of settings`)
}
