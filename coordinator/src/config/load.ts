import { readFileSync } from 'node:fs'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { resolveOptions } from '@understudy/shared/core/options'
import type { SettingView } from '@understudy/shared/protocol/settings'
import { parse } from 'yaml'
import { type CoordinatorConfig, coordinatorOptions } from './options.ts'
import { settingsView } from './settings-view.ts'

/** Flags over environment over file over defaults. @throws AppError `config_invalid` with every problem at once */
export function loadConfig(
  file: string | undefined,
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): CoordinatorConfig {
  return loadSettings(file, flags, env).config
}

/** The same, with what is shown of it. @throws AppError `config_invalid` with every problem at once */
export function loadSettings(
  file: string | undefined,
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): { readonly config: CoordinatorConfig; readonly settings: readonly SettingView[] } {
  const { values, origins } = resolveOptions(coordinatorOptions, {
    flags,
    env,
    file: file === undefined ? {} : readConfigFile(file),
    readSecret: (path) => readFileSync(path, 'utf8'),
  })
  return { config: values, settings: settingsView(coordinatorOptions, values, origins) }
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
