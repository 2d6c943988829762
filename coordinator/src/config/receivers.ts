import { readFileSync } from 'node:fs'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { parseReceivers, type Receiver } from '../notifications/notifications.ts'
import type { CoordinatorConfig } from './options.ts'

/** Who is told of incidents; nobody where no file is named. @throws AppError `config_invalid` */
export function loadReceivers(
  { notifications: file }: Pick<CoordinatorConfig, 'notifications'>,
  env: Readonly<Record<string, string | undefined>>,
): readonly Receiver[] {
  if (file === undefined) return []
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new AppError(
      'config_invalid',
      `the file of receivers ${file} cannot be read (${messageOf(cause)})`,
      {
        hint: 'Name another one with --notifications, or none.',
        cause,
      },
    )
  }
  return parseReceivers(text, { name: file, env, readSecret: (path) => readFileSync(path, 'utf8') })
}
