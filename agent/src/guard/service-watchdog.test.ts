import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { until } from '../replication/testing.ts'
import { type ServiceWatchdog, startServiceWatchdog } from './service-watchdog.ts'

let base: string
let running: ServiceWatchdog | undefined
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'understudy-watchdog-'))
})
afterEach(async () => {
  await running?.close()
  running = undefined
  rmSync(base, { recursive: true })
})

/** Stands for systemd-notify: notes what it is told, and fails while there is a file `broken`. */
function installNotify(): void {
  const tool = join(base, 'systemd-notify')
  writeFileSync(
    tool,
    `#!/bin/sh\n[ -e ${base}/broken ] && { echo 'no such socket' >&2; exit 1; }\necho "$NOTIFY_SOCKET $*" >>${base}/said\n`,
  )
  chmodSync(tool, 0o755)
}

function said(): string[] {
  try {
    return readFileSync(join(base, 'said'), 'utf8').trim().split('\n')
  } catch {
    return []
  }
}

function start(environment: NodeJS.ProcessEnv) {
  const events: string[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => void events.push(JSON.parse(line).event) })
  const all: NodeJS.ProcessEnv = { PATH: `${base}:/usr/bin:/bin`, ...environment }
  running = startServiceWatchdog({ environment: all, clock: systemClock, log })
  return { watchdog: running, environment: all, events }
}

test('it says that the daemon is ready, that it lives again and again, and that it ends', async () => {
  installNotify()
  const { watchdog, environment } = start({
    NOTIFY_SOCKET: '/run/n',
    WATCHDOG_USEC: '300000',
    WATCHDOG_PID: String(process.pid),
  })
  await until(() => said().length >= 4)
  await watchdog.close()
  const lines = said()
  expect(lines[0]).toBe('/run/n READY=1 WATCHDOG=1')
  expect(new Set(lines.slice(1, -1))).toEqual(new Set(['/run/n WATCHDOG=1']))
  expect(lines.at(-1)).toBe('/run/n STOPPING=1')
  await new Promise((resolve) => setTimeout(resolve, 250))
  expect(said()).toEqual(lines)
  expect(watchdog.degraded).toBeUndefined()
  // What hooks start must not speak for the daemon.
  expect(Object.keys(environment)).toEqual(['PATH'])
})

test('where systemd does not ask, or asks another process, nothing is petted', async () => {
  installNotify()
  const { watchdog } = start({ WATCHDOG_USEC: '30000' })
  await watchdog.close()
  expect(said()).toEqual([])
  start({ NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '30000', WATCHDOG_PID: '1' })
  await until(() => said().length === 1)
  await new Promise((resolve) => setTimeout(resolve, 150))
  expect(said()).toEqual(['/run/n READY=1'])
})

test('a failure is logged once, shows as degraded, and ends when it works again', async () => {
  installNotify()
  writeFileSync(join(base, 'broken'), '')
  const { watchdog, events } = start({ NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '60000' })
  await until(() => watchdog.degraded !== undefined)
  expect(watchdog.degraded).toMatchObject({
    code: 'watchdog_failed',
    message: expect.stringContaining('no such socket'),
  })
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(events).toEqual(['watchdog.failed'])
  rmSync(join(base, 'broken'))
  await until(() => watchdog.degraded === undefined)
  expect(events).toEqual(['watchdog.failed', 'watchdog.recovered'])
})

test('without systemd-notify it is degraded and says what is needed', async () => {
  const { watchdog } = start({ PATH: base, NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '60000' })
  await until(() => watchdog.degraded !== undefined)
  expect(watchdog.degraded?.message).toContain('ENOENT')
  expect(watchdog.degraded?.hint).toContain('systemd-notify')
})
