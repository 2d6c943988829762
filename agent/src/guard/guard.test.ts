import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { millis, mono } from '@understudy/shared/core/time'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { afterEach, expect, test } from 'vitest'
import { until } from '../replication/testing.ts'
import { killMarked, WORKLOAD_KEY } from '../role/process-tree.ts'
import { bootTime } from './boot-time.ts'
import { GUARD_SCRIPT } from './guard-script.ts'
import { freshKey, runs, startHolder, startModule, startWorkload, testGuard } from './testing.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/**
 * How late it may be where other tests want the same processors. It is far below what each test would take if the guard
 * did not do its work; how fast it is was measured, and is in docs/agent.md.
 */
const LATE = 20_000

function keyOfTest(): string {
  const key = freshKey()
  cleanups.push(() => killMarked(key))
  return key
}

function guardOf(key: string) {
  const guard = testGuard({ key })
  cleanups.push(() => guard.close())
  return guard
}

function holderOf(key: string, body: string) {
  const holder = startHolder(key, body)
  cleanups.push(() => holder.kill('SIGKILL'))
  return holder
}

const passed = (time: number) => until(() => bootTime() >= time)
/** The guard has done what it was told, and would have killed. */
const settled = (ms = 250) => passed(bootTime() + ms)

const total = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0)

test('without a renewal the workload is killed at the end of its time, not before, and what is not of it lives', async () => {
  const key = keyOfTest()
  const other = keyOfTest()
  const guard = guardOf(key)
  await until(() => guard.degraded === undefined)
  const workload = await startWorkload(key)
  const foreign = await startWorkload(other)
  const longer = await startWorkload(`${other}x`)
  cleanups.push(() => killMarked(`${other}x`))
  const began = bootTime()
  guard.arm(millis(300))
  const ended = await workload.ended
  expect(ended - began).toBeGreaterThanOrEqual(280)
  expect(ended - began).toBeLessThanOrEqual(300 + LATE)
  await until(() => guard.killed.length > 0)
  expect(guard.killed).toEqual([1])
  expect(guard.events).not.toContain('guard.left')
  expect(guard.events).toContain('guard.killed')
  expect([foreign.pid, longer.pid].map(runs)).toEqual([true, true])
})

test('as long as it is renewed the workload runs, also past the ends that were said first', async () => {
  const key = keyOfTest()
  const guard = guardOf(key)
  const workload = await startWorkload(key)
  for (let n = 0; n < 25; n += 1) {
    guard.arm(millis(4000))
    await settled(200)
  }
  expect(runs(workload.pid)).toBe(true)
  expect(guard.killed).toEqual([])
  guard.arm(millis(0))
  await workload.ended
})

test('what was granted counts from when it was asked for', async () => {
  const key = keyOfTest()
  const guard = guardOf(key)
  await until(() => guard.degraded === undefined)
  const workload = await startWorkload(key)
  const now = bootTime()
  guard.arm(millis(60_000), mono(now - 59_900))
  expect((await workload.ended) - now).toBeLessThanOrEqual(100 + LATE)
})

test('after a kill it goes on: what comes back is killed, until something else is said', async () => {
  const key = keyOfTest()
  const guard = guardOf(key)
  const first = await startWorkload(key)
  guard.arm(millis(50))
  await first.ended
  const second = await startWorkload(key)
  await second.ended
  await until(() => total(guard.killed) === 2)
  guard.disarm()
  const third = await startWorkload(key)
  await settled(700)
  expect(runs(third.pid)).toBe(true)
  guard.arm(millis(100))
  await third.ended
  await until(() => total(guard.killed) === 3)
})

test('grandchildren are found, also those in a session of their own and those that have cleared their environment', async () => {
  const key = keyOfTest()
  const guard = guardOf(key)
  const workload = await startWorkload(
    key,
    `setsid sh -c 'echo $$; sleep 300 & echo $!; wait' &
     env -i sleep 300 & echo $!
     sh -c 'setsid sleep 300 & echo $!' &
     sleep 0.1; wait %3`,
  )
  const all = () => [workload.pid, ...workload.started()]
  await until(() => all().length === 5 && all().every(runs))
  guard.arm(millis(50))
  await until(() => !all().some(runs))
  await until(() => guard.killed.length > 0)
  expect(guard.killed).toEqual([5])
})

test('nothing gets away by starting another process', async () => {
  const key = keyOfTest()
  const guard = guardOf(key)
  const workload = await startWorkload(
    key,
    // What cannot be found any more must not hold what this process is read from, or the test runner waits for it.
    `(for n in $(seq 400); do sleep 0.002; sh -c 'env -i sleep 30 & sleep 30 &'; done) >/dev/null 2>&1 &`,
  )
  guard.arm(millis(50))
  await workload.ended
  // It says so when it finds nothing any more.
  await until(() => guard.events.at(-1) === 'guard.killed')
  await settled(300)
  expect(await killMarked(key)).toBe(0)
})

test('what does not end when it is killed is said to be left', async () => {
  const key = keyOfTest()
  const directory = mkdtempSync(join(tmpdir(), 'understudy-guard-'))
  cleanups.push(() => rmSync(directory, { recursive: true }))
  // As with a process that waits for a disk: to kill it does nothing.
  const bash = join(directory, 'bash')
  const spares = `kill() { [[ $2 == KILL ]] || builtin kill "$@"; }`
  writeFileSync(bash, `#!/bin/sh\nGUARD='${spares}\n'"$GUARD" exec bash "$@"`, { mode: 0o755 })
  const said: [number, number][] = []
  const guard = testGuard({ key, bash, onKilled: (processes, left) => said.push([processes, left]) })
  cleanups.push(() => guard.close())
  const workload = await startWorkload(key)
  guard.arm(millis(50))
  await until(() => said.length > 0)
  expect(said[0]).toEqual([1, 1])
  expect(guard.events).toContain('guard.left')
  await killMarked(key)
  await workload.ended
})

test('idle: nothing is killed, neither late nor when the agent is killed', async () => {
  const key = keyOfTest()
  const workload = await startWorkload(key)
  const holder = holderOf(
    key,
    `guard.arm(300); guard.disarm(); await pause(500); say(String(guard.pid)); await pause(60000)`,
  )
  await until(() => holder.said().length === 1)
  const pid = Number(holder.said()[0])
  expect(runs(pid)).toBe(true)
  holder.kill('SIGKILL')
  await until(() => !runs(pid))
  expect(runs(workload.pid)).toBe(true)
})

test.each(['guard.solo()', 'guard.arm(60000)'])(
  '%s: an agent that is killed takes the workload along at once',
  async (call) => {
    const key = keyOfTest()
    const workload = await startWorkload(key)
    const holder = holderOf(key, `${call}; await pause(300); say(String(guard.pid)); await pause(60000)`)
    await until(() => holder.said().length === 1)
    expect(runs(workload.pid)).toBe(true)
    const killed = bootTime()
    holder.kill('SIGKILL')
    expect((await workload.ended) - killed).toBeLessThanOrEqual(LATE)
    await until(() => !runs(Number(holder.said()[0])))
  },
)

test('an agent that ends in an orderly way leaves the workload alone', async () => {
  const key = keyOfTest()
  const workload = await startWorkload(key)
  const holder = holderOf(
    key,
    `guard.arm(2000); await pause(50); const { pid } = guard; await guard.close(); say(String(pid))`,
  )
  await once(holder, 'exit')
  await until(() => holder.said().length === 1)
  expect(runs(Number(holder.said()[0]))).toBe(false)
  await settled(2200)
  expect(runs(workload.pid)).toBe(true)
})

test('an agent that is stopped loses the workload when its time ends, and hears of it later', async () => {
  const key = keyOfTest()
  const workload = await startWorkload(key)
  const holder = holderOf(
    key,
    `setInterval(() => guard.arm(3000), 50); await pause(300); say(String(guard.pid))`,
  )
  cleanups.push(() => holder.kill('SIGKILL'))
  await until(() => holder.said().length === 1)
  expect(runs(workload.pid)).toBe(true)
  holder.kill('SIGSTOP')
  const stopped = bootTime()
  expect((await workload.ended) - stopped).toBeLessThanOrEqual(3000 + LATE)
  expect(runs(holder.pid ?? 0)).toBe(true)
  expect(runs(Number(holder.said()[0]))).toBe(true)
  holder.kill('SIGCONT')
  await until(() => holder.said().includes('killed 1'))
})

test('a guard that was stopped looks at the clock first, but believes what was said meanwhile', async () => {
  const key = keyOfTest()
  const guard = guardOf(key)
  await until(() => guard.degraded === undefined)
  const workload = await startWorkload(key)
  const pid = guard.pid ?? Number.NaN

  guard.arm(millis(1500))
  await settled(20)
  process.kill(pid, 'SIGSTOP')
  for (let n = 0; n < 2000; n += 1) guard.arm(millis(1500 + (n % 10) * 10))
  expect(guard.degraded?.code).toBe('guard_missing')
  await settled(1700)
  guard.arm(millis(60_000))
  process.kill(pid, 'SIGCONT')
  await until(() => guard.degraded === undefined)
  await settled(300)
  expect(runs(workload.pid)).toBe(true)

  guard.arm(millis(1500))
  process.kill(pid, 'SIGSTOP')
  await settled(1700)
  expect(runs(workload.pid)).toBe(true)
  const continued = bootTime()
  process.kill(pid, 'SIGCONT')
  expect((await workload.ended) - continued).toBeLessThanOrEqual(LATE)
})

test('a line that is whole counts, also where the end of the line was not seen before the time was up', async () => {
  const key = keyOfTest()
  const workload = await startWorkload(key)
  const args = [`${WORKLOAD_KEY}=${key}`, String(process.pid), '']
  const guard = spawn('bash', ['--norc', '-c', 'eval "$GUARD"', 'guard', ...args], {
    env: { PATH: process.env.PATH, LC_ALL: 'C', GUARD: GUARD_SCRIPT },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  cleanups.push(() => guard.kill('SIGKILL'))
  const later = Math.floor((bootTime() + 60_000) / 10)
  guard.stdin.write(`until ${later};\nuntil ${later}`)
  await settled(300)
  expect(runs(workload.pid)).toBe(true)
  guard.stdin.write(';')
  await settled(300)
  guard.stdin.write('\nuntil 0;')
  await workload.ended
})

test('signals for the end of a unit do not end the guard; one that is killed is started again and knows what was said', async () => {
  const key = keyOfTest()
  const guard = guardOf(key)
  await until(() => guard.degraded === undefined)
  const workload = await startWorkload(key)
  const began = bootTime()
  guard.arm(millis(900))
  const first = guard.pid ?? Number.NaN
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(first, signal)
  await settled(50)
  expect(guard.pid).toBe(first)
  process.kill(first, 'SIGKILL')
  await until(() => guard.events.includes('guard.ended'))
  expect(guard.ends).toEqual([expect.stringContaining('SIGKILL')])
  await until(() => guard.degraded === undefined)
  expect(guard.pid).not.toBe(first)
  const ended = await workload.ended
  expect(ended - began).toBeGreaterThanOrEqual(880)
  expect(ended - began).toBeLessThanOrEqual(900 + LATE)
  await until(() => guard.killed.length > 0)
})

test('it works from a worker thread while the main thread stands still', async () => {
  const key = keyOfTest()
  const workload = await startWorkload(key)
  const url = (name: string) => JSON.stringify(new URL(name, import.meta.url).href)
  const worker = `
    import { parentPort } from 'node:worker_threads'
    import { writeSync } from 'node:fs'
    const say = (text) => writeSync(1, text + '\\n')
    const log = { info() {}, warn() {}, error() {} }
    parentPort.once('message', async () => {
      const { startGuard } = await import(${url('guard.ts')})
      const { systemClock: clock } = await import(${JSON.stringify(import.meta.resolve('@understudy/shared/core/time'))})
      const guard = startGuard({ key: ${JSON.stringify(key)}, clock, random: Math.random, log, onKilled: (n) => say('killed ' + n) })
      const arm = () => guard.arm(3000)
      arm()
      const renew = setInterval(arm, 50)
      const guardedBut = async (gone) => {
        while (guard.degraded || guard.pid === gone) await new Promise((resolve) => setTimeout(resolve, 5))
        say('guarded')
      }
      await guardedBut(undefined)
      const { pid } = guard
      process.kill(pid, 'SIGKILL')
      await guardedBut(pid)
      clearInterval(renew)
    })
    parentPort.postMessage('here')`
  const holder = startModule(`
    import { Worker } from 'node:worker_threads'
    const worker = new Worker(${JSON.stringify(worker)}, { eval: true })
    await new Promise((resolve) => worker.once('message', resolve))
    worker.postMessage('go')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)`)
  cleanups.push(() => holder.kill('SIGKILL'))
  await until(() => holder.said().length >= 2)
  expect(holder.said()).toEqual(['guarded', 'guarded'])
  await workload.ended
  await until(() => holder.said().includes('killed 1'))
})

test('a worker thread that breaks takes the workload along', async () => {
  const key = keyOfTest()
  const workload = await startWorkload(key)
  const holder = startModule(`
    import { Worker } from 'node:worker_threads'
    const worker = new Worker(${JSON.stringify(`
      void import(${JSON.stringify(new URL('testing.ts', import.meta.url).href)}).then(({ testGuard }) => {
        const guard = testGuard({ key: ${JSON.stringify(key)} })
        guard.solo()
        setInterval(() => { if (guard.degraded === undefined) throw new Error('broken') }, 20)
      })`)}, { eval: true })
    worker.on('error', ({ message }) => console.log(message))
    setInterval(() => undefined, 1000)`)
  cleanups.push(() => holder.kill('SIGKILL'))
  await workload.ended
  await until(() => holder.said().includes('broken'))
})

test('a key that no environment can hold, and a lease that is no number, are refused', () => {
  expect(() => testGuard({ key: '' })).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  expect(() => testGuard({ key: 'a\0b' })).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  const guard = guardOf(keyOfTest())
  expect(() => guard.arm(millis(Number.NaN))).toThrow(RangeError)
})

test('among 300 processes it still needs less than a lease', async () => {
  const key = keyOfTest()
  const many = spawn('sh', ['-c', 'for n in $(seq 250); do sleep 60 & done; echo ready; wait'], {
    detached: true,
    env: { PATH: process.env.PATH, FILLER: 'x'.repeat(2500) },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  cleanups.push(() => process.kill(-(many.pid ?? 0), 'SIGKILL'))
  await once(many.stdout, 'data')
  const guard = guardOf(key)
  await until(() => guard.degraded === undefined)
  const kill = async () => {
    const workload = await startWorkload(key)
    const began = bootTime()
    guard.arm(millis(100))
    const took = (await workload.ended) - began
    guard.disarm()
    return took
  }
  // The quickest of some: other tests want the same processors.
  let quickest = await kill()
  for (let n = 0; n < 20 && quickest >= defaultLeasePolicy.lease; n += 1)
    quickest = Math.min(quickest, await kill())
  expect(quickest).toBeGreaterThanOrEqual(80)
  expect(quickest).toBeLessThan(defaultLeasePolicy.lease)
})
