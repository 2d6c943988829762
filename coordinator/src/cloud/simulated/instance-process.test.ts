import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startInstanceProcess } from './instance-process.ts'

function start(
  cwd = mkdtempSync(join(tmpdir(), 'understudy-instance-')),
): ReturnType<typeof startInstanceProcess> {
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

/** Processes that were started in this directory and live. */
const livingIn = (directory: string): readonly string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      const isDead = /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
      return !isDead && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${directory}\0`)
    } catch {
      return false
    }
  })

test('instances that end at once end with all that they have started, in whatever session', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'understudy-instance-'))
  const [one, other] = [start(), start(cwd)]
  while (livingIn(cwd).length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  await Promise.all([one.end(), other.end()])
  await Promise.all([one.ended, other.ended])
  // Killed, they are gone a moment later.
  while (livingIn(cwd).length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  // Once more ends nothing, and nobody.
  await other.end()
})
