import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { millis } from '@understudy/shared/core/time'
import { expect, onTestFinished, test } from 'vitest'
import { until } from '../replication/testing.ts'
import { freshKey, testGuard } from './testing.ts'

function start(bash?: string) {
  const guard = testGuard({ key: freshKey(), ...(bash === undefined ? {} : { bash }) })
  onTestFinished(() => guard.close())
  return guard
}

test('without bash the agent is degraded, and says what to do', async () => {
  const guard = start('/nowhere/bash')
  await until(() => guard.degraded?.message.includes('ENOENT') === true)
  guard.arm(millis(10))
  guard.disarm()
  expect(guard.degraded).toMatchObject({
    code: 'guard_missing',
    hint: expect.stringContaining('Install bash'),
  })
  expect(guard.pid).toBeUndefined()
  await until(() => guard.events.includes('guard.ended'))
})

test('something else under the name of bash shows as well', async () => {
  const guard = start('/bin/sh')
  await until(() => guard.degraded?.message.includes('status') === true)
  expect(guard.degraded?.hint).toContain('4.4')
})

test('what users run when their shell starts is not run', async () => {
  const home = mkdtempSync(join(tmpdir(), 'understudy-guard-'))
  onTestFinished(() => rmSync(home, { recursive: true }))
  writeFileSync(join(home, '.bashrc'), 'exit 7')
  writeFileSync(join(home, 'bash'), `#!/bin/sh\nHOME=${home} exec bash "$@"`, { mode: 0o755 })
  const guard = start(join(home, 'bash'))
  await until(() => guard.degraded === undefined || guard.ends.length > 0)
  expect(guard.ends).toEqual([])
})

test('it gets nothing of the environment, and is found by its name', async () => {
  const guard = start()
  await until(() => guard.degraded === undefined)
  const environment = readFileSync(`/proc/${guard.pid}/environ`, 'latin1').split('\0')
  expect(
    environment.map((entry) => entry.split('=')[0]).filter((name) => name !== '' && !/^\s/.test(name ?? '')),
  ).toEqual(expect.arrayContaining(['PATH', 'LC_ALL', 'GUARD']))
  expect(environment.some((entry) => entry.startsWith('AGENT_WORKLOAD_KEY='))).toBe(false)
  expect(readFileSync(`/proc/${guard.pid}/cmdline`, 'utf8').split('\0')).toContain('understudy-guard')
})
