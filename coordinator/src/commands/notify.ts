import { randomUUID } from 'node:crypto'
import { AppError } from '@understudy/shared/core/app-error'
import { systemClock } from '@understudy/shared/core/time'
import type { Invocation } from '../command-line.ts'
import { loadConfig } from '../config/load.ts'
import { loadReceivers } from '../config/receivers.ts'
import { testMessage } from '../notifications/messages.ts'
import { createPoster, type Receiver } from '../notifications/notifications.ts'

/** `notify test [<receiver>]`: sends one message to each, or to that one. Neither a coordinator nor a database is needed. */
export async function notify(
  { configFile, settings, words, json }: Invocation,
  print: (text: string) => number,
): Promise<number> {
  const [verb, name, ...more] = words
  if (verb !== 'test' || more.length > 0)
    throw new AppError('input_invalid', `notify what? "${words.join(' ')}" is not test [<receiver>]`)
  const config = loadConfig(configFile, settings, process.env)
  const receivers = chosen(loadReceivers(config, process.env), name)
  const poster = createPoster(systemClock)
  const rows = []
  try {
    for (const receiver of receivers) {
      const message = testMessage(
        receiver,
        randomUUID(),
        config.public_url ?? 'this machine',
        systemClock.now(),
      )
      const { ok, status, error } = await poster.post(receiver, message, AbortSignal.timeout(15_000))
      rows.push({ receiver: receiver.name, ok, status, error })
    }
  } finally {
    await poster.close()
  }
  if (json) print(`${JSON.stringify({ schema: 'understudy.notify-test/v1', items: rows })}\n`)
  else
    for (const { receiver, ok, error } of rows)
      print(`${receiver.padEnd(20)}${ok ? 'ok' : `FAILED ${error}`}\n`)
  return rows.every(({ ok }) => ok) ? 0 : 1
}

function chosen(receivers: readonly Receiver[], name: string | undefined): readonly Receiver[] {
  if (receivers.length === 0)
    throw new AppError('config_invalid', 'there is nobody to tell', {
      hint: 'Name a file of receivers: --notifications <file>; docs/notifications.md shows one.',
    })
  if (name === undefined) return receivers
  const found = receivers.filter((receiver) => receiver.name === name)
  if (found.length > 0) return found
  throw new AppError('not_found', `there is no receiver "${name.slice(0, 40)}"`, {
    hint: `There are: ${receivers.map((receiver) => receiver.name).join(', ')}`,
  })
}
