import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startInstanceProcess } from './instance-process.ts'

function start(): ReturnType<typeof startInstanceProcess> {
  const cwd = mkdtempSync(join(tmpdir(), 'understudy-instance-'))
  const started = startInstanceProcess({
    instanceId: 'i-demo001',
    // The second process is what a hook has left running in a session of its own.
    command: ['sh', '-c', 'setsid sleep 600 & exec sleep 600'],
    env: {},
    cwd,
    logFile: join(cwd, 'log'),
  })
  onTestFinished(() => {
    started.signalAll('SIGKILL')
    rmSync(cwd, { recursive: true })
  })
  return started
}

test('two clouds on one machine may have instances of the same name: each ends its own', async () => {
  const [one, other] = [start(), start()]
  one.signalAll('SIGKILL')
  await one.ended
  const ended = await Promise.race([
    other.ended.then(() => true),
    new Promise((resolve) => setTimeout(() => resolve(false), 100)),
  ])
  expect(ended).toBe(false)
  other.signalAll('SIGKILL')
  await other.ended
})
