import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { millis, systemClock } from '@understudy/shared/core/time'
import type { Hook } from '@understudy/shared/failover/member-types'
import { pino } from 'pino'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { workloadSchema } from '../config/workload.ts'
import { runs } from '../guard/testing.ts'
import { until } from '../replication/testing.ts'
import { createHooks, healthPause } from './hooks.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const facts = { agent: 'web-1', instance: 'i-123', epoch: 7 }
let keys = 0

function hooksOf(hooks: Partial<Record<Hook, unknown>>, directory = '/') {
  const nothing = { command: ['true'] }
  const workload = workloadSchema.parse({
    state: ['/tmp'],
    directory,
    hooks: { start: nothing, stop: nothing, health: nothing, ...hooks },
  })
  keys += 1
  const made = createHooks(workload, `test-${process.pid}-${keys}`, systemClock, pino({ level: 'silent' }))
  cleanups.push(async () => {
    await made.kill()
  })
  return {
    ...made,
    run: (hook: Hook, signal = new AbortController().signal) => made.run(hook, facts, signal),
  }
}

const sh = (script: string, timeout_seconds = 30) => ({ command: ['sh', '-c', script], timeout_seconds })

test('a hook that ends with 0 has worked; its output is kept, and it knows the epoch', async () => {
  const outcome = await hooksOf({ start: sh('echo "epoch $AGENT_EPOCH of $AGENT_ID"') }).run('start')
  expect(outcome).toEqual({ ok: true, output: 'epoch 7 of web-1\n' })
})

test('a hook gets neither the join token nor what is set for the memory of the agent alone', async () => {
  vi.stubEnv('JOIN_TOKEN', 'us_secret').stubEnv('MALLOC_ARENA_MAX', '2').stubEnv('LANG', 'C.UTF-8')
  onTestFinished(() => void vi.unstubAllEnvs())
  const { output } = await hooksOf({ start: sh('env') }).run('start')
  expect(output).toContain('LANG=C.UTF-8\n')
  expect(output).not.toMatch(/us_secret|MALLOC_/)
})

test('a hook that ends with another status says so, with the end of its output', async () => {
  const { ok, why } = await hooksOf({ stop: sh('echo cannot stop >&2; exit 3') }).run('stop')
  expect(ok).toBe(false)
  expect(why).toBe('stop hook: it ended with status 3 (cannot stop)')
})

test('a hook that hangs is ended with everything that it has started', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-hook-'))
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
  const named = join(directory, 'pid')
  const hooks = hooksOf({ freeze: sh(`sleep 300 & echo $! >${named}; sleep 300`, 2), thaw: sh('true') })
  const { ok, why } = await hooks.run('freeze')
  expect(ok).toBe(false)
  expect(why).toContain('did not finish within 2 s and was killed')
  const pid = Number(readFileSync(named, 'utf8'))
  expect(pid).toBeGreaterThan(0)
  await until(() => !runs(pid))
})

test('a program that is not there is an outcome, not a crash', async () => {
  const { ok, why } = await hooksOf({ start: { command: ['/no/such/program'] } }).run('start')
  expect(ok).toBe(false)
  expect(why).toContain('/no/such/program cannot be run')
})

test('what a start hook leaves running lives on, and kill ends it', async () => {
  const hooks = hooksOf({ start: sh('sleep 300 & echo $!') })
  const { output } = await hooks.run('start')
  const pid = Number(output.trim())
  expect(() => process.kill(pid, 0)).not.toThrow()
  expect(await hooks.kill()).toEqual({ ok: true, output: 'ended 1 processes' })
  expect(await hooks.kill()).toEqual({ ok: true, output: 'ended 0 processes' })
})

test('a hook that is called off ends at once', async () => {
  const stop = new AbortController()
  const running = hooksOf({ start: sh('sleep 60', 60) }).run('start', stop.signal)
  stop.abort()
  expect((await running).why).toContain('it was called off')
})

test('without freeze and thaw the workload is stopped and started instead', async () => {
  const hooks = hooksOf({ start: sh('echo started'), stop: sh('echo stopped') })
  expect((await hooks.run('freeze')).output).toBe('stopped\n')
  expect((await hooks.run('thaw')).output).toBe('started\n')
})

test('health by HTTP is asked until it is good', async () => {
  let asked = 0
  const server: Server = createServer((_, response) => {
    asked += 1
    response.writeHead(asked < 3 ? 503 : 204).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => new Promise((resolve) => server.close(() => resolve())))
  const { port } = server.address() as AddressInfo
  const { ok } = await hooksOf({
    health: { http: `http://127.0.0.1:${port}/health`, timeout_seconds: 30 },
  }).run('health')
  expect(ok).toBe(true)
  expect(asked).toBe(3)
})

test('a workload is asked often at first, then less, and asking never takes most of the time', () => {
  expect(healthPause(millis(0), millis(1))).toBe(10)
  expect(healthPause(millis(1000), millis(1))).toBe(25)
  expect(healthPause(millis(0), millis(30))).toBe(60)
  expect(healthPause(millis(60_000), millis(2000))).toBe(100)
})

test('a workload that never becomes healthy fails with the last answer', async () => {
  const { ok, why } = await hooksOf({
    health: { http: 'http://127.0.0.1:9/health', timeout_seconds: 2 },
  }).run('health')
  expect(ok).toBe(false)
  expect(why).toMatch(/not healthy within 2 s: .*ECONNREFUSED/)
})

test.each([
  [{ start: { command: 'systemctl start app' } }, 'command must be a list'],
  [{ freeze: sh('true') }, 'freeze and thaw come together'],
  [{ health: { url: 'http://x' } }, 'health needs either'],
  [{ start: sh('true'), restart: sh('true') }, 'restart'],
])('a wrong hook is refused when the file is read: %j', (hooks, message) => {
  const nothing = { command: ['true'] }
  const parsed = workloadSchema.safeParse({
    state: ['/tmp'],
    hooks: { start: nothing, stop: nothing, health: nothing, ...hooks },
  })
  expect(parsed.success).toBe(false)
  expect(JSON.stringify(parsed.error?.issues)).toContain(message)
})
