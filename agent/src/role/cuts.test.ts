import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isAppError } from '@understudy/shared/core/app-error'
import { millis, systemClock } from '@understudy/shared/core/time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { pair, REPLICA, scratch, until } from '../replication/testing.ts'
import { type Cuts, createCuts } from './cuts.ts'
import type { HookOutcome, Hooks } from './hooks.ts'
import { killMarked, WORKLOAD_KEY } from './process-tree.ts'

const KEY = `cuts-test-${process.pid}`
const FACTS = { agent: 'a', instance: 'i', epoch: 1 }
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Writes a line into a log, then the same number into a database, again and again; says what is committed. */
const WORKLOAD = `
const { DatabaseSync } = require('node:sqlite')
const { appendFileSync } = require('node:fs')
const db = new DatabaseSync('app.db')
db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 20; CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, filler TEXT)')
const insert = db.prepare('INSERT INTO t (n, filler) VALUES (?, ?)')
let n = 0
const step = () => {
  for (let i = 0; i < 5; i += 1) {
    n += 1
    appendFileSync('app.log', n + ' ' + 'x'.repeat(n % 300) + '\\n')
    insert.run(n, 'y'.repeat((n * 37) % 2000))
  }
  process.send(n)
  setTimeout(step, 3)
}
step()
`

function startWorkload(directory: string): { child: ChildProcess; committed: () => number } {
  let committed = 0
  const child = spawn(process.execPath, ['--no-warnings', '-e', WORKLOAD], {
    cwd: directory,
    env: { ...process.env, [WORKLOAD_KEY]: KEY },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  child.on('message', (n) => {
    committed = Number(n)
  })
  cleanups.push(() => killMarked(KEY))
  return { child, committed: () => committed }
}

const noHooks: Hooks = {
  run: async () => ({ ok: true, output: '' }),
  kill: async () => ({ ok: true, output: '' }),
}

function runCuts(
  parts: Partial<Parameters<typeof createCuts>[0]> & { cut: Parameters<typeof createCuts>[0]['cut'] },
): Cuts {
  const cuts = createCuts({
    every: millis(60),
    hooks: noHooks,
    hasHooks: false,
    key: KEY,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    wanted: () => FACTS,
    onStuck: () => undefined,
    ...parts,
  })
  const stop = new AbortController()
  const running = cuts.service.run(stop.signal)
  cleanups.push(async () => {
    stop.abort()
    await running
  })
  return cuts
}

test('a database and a log that were cut while they were written to are of one moment on the replica', async () => {
  const { from, to, primary, replica, follow } = await pair(scratch(), undefined, {
    limits: { cutsOnly: true },
  })
  const { child, committed } = startWorkload(from)
  await until(() => committed() > 0)
  const cuts = runCuts({ cut: (hold) => primary.cut(hold) })
  follow()
  await until(() => replica.whole && cuts.status.taken > 2)
  for (let round = 0; round < 3; round += 1) {
    const before = committed()
    const started = systemClock.mono()
    await until(() => {
      const safe = primary.lags()[0]?.lag.safeMillis
      return typeof safe === 'number' && systemClock.mono() - safe > started
    })
    await until(() => committed() > before)
    if (round < 2) continue
    // From then on there is nothing that a cut could hold still.
    await until(() => cuts.degraded === undefined)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await replica.finish(false)
    const db = new DatabaseSync(join(to, 'app.db'))
    expect(db.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' })
    const { rows, last } = db.prepare('SELECT count(*) AS rows, max(n) AS last FROM t').get() as {
      rows: number
      last: number
    }
    db.close()
    expect(rows).toBe(last)
    expect(last).toBeGreaterThanOrEqual(before)
    const lines = readFileSync(join(to, 'app.log'), 'utf8').split('\n')
    expect(lines.pop()).toBe('')
    expect(lines.every((line, index) => line.startsWith(`${index + 1} `))).toBe(true)
    // The line comes first, the row second: never the other way round, and never more than one apart.
    expect([last, last + 1]).toContain(lines.length)
  }
})

test('without a process that could be held still a cut says what is missing', async () => {
  const cuts = runCuts({ cut: async (hold) => hold(() => Promise.resolve()) })
  await until(() => cuts.status.failed > 0)
  expect(cuts.degraded?.message).toContain('no process of the workload')
  expect(cuts.status.taken).toBe(0)
})

test('the hooks freeze and thaw hold the workload where there are any', async () => {
  const ran: string[] = []
  const hooks: Hooks = {
    ...noHooks,
    run: async (hook) => {
      ran.push(hook)
      return { ok: true, output: '' }
    },
  }
  const cuts = runCuts({
    hooks,
    hasHooks: true,
    cut: async (hold) => hold(async () => void ran.push('capture')),
  })
  await until(() => cuts.status.taken > 1)
  expect(ran.slice(0, 6)).toEqual(['freeze', 'capture', 'thaw', 'freeze', 'capture', 'thaw'])
})

test('an order waits until a cut has let the workload go, and nothing is captured any more', async () => {
  const ran: string[] = []
  let frozen: (outcome: HookOutcome) => void = () => undefined
  const hooks: Hooks = {
    ...noHooks,
    run(hook) {
      ran.push(hook)
      if (hook !== 'freeze' || ran.length > 1) return Promise.resolve({ ok: true, output: '' })
      return new Promise((resolve) => (frozen = resolve))
    },
  }
  const cuts = runCuts({
    every: millis(60_000),
    hooks,
    hasHooks: true,
    cut: async (hold) => hold(async () => void ran.push('capture')),
  })
  await until(() => ran.length === 1)
  const ordered = cuts.hooks.run('stop', FACTS, new AbortController().signal)
  frozen({ ok: true, output: '' })
  await ordered
  expect(ran).toEqual(['freeze', 'thaw', 'stop'])
})

/** A workload that does not thaw; `start` ends as the test says. */
function notThawing(start: (signal: AbortSignal) => Promise<HookOutcome>) {
  const ran: string[] = []
  const stuck: string[] = []
  const hooks: Hooks = {
    async run(hook, _, signal) {
      ran.push(hook)
      if (hook === 'start') return start(signal)
      return hook === 'thaw' ? { ok: false, why: 'no thaw', output: '' } : { ok: true, output: '' }
    },
    async kill() {
      ran.push('kill')
      return { ok: true, output: '' }
    },
  }
  const cuts = runCuts({
    every: millis(60_000),
    hooks,
    hasHooks: true,
    cut: async (hold) => hold(() => Promise.resolve()),
    onStuck: (why) => stuck.push(why),
  })
  return { cuts, ran, stuck }
}

test('a workload that does not thaw after a cut is started', async () => {
  const { cuts, ran, stuck } = notThawing(async () => ({ ok: true, output: '' }))
  await until(() => cuts.status.failed > 0)
  expect(ran).toEqual(['freeze', 'thaw', 'start'])
  expect(stuck).toEqual([])
  expect(cuts.degraded?.message).toContain('no thaw')
})

test('that a workload can neither thaw nor be started after a cut is passed on', async () => {
  const { cuts, stuck } = notThawing(async () => ({ ok: false, why: 'no start', output: '' }))
  await until(() => cuts.status.failed > 0)
  expect(stuck).toEqual(['no thaw; no start'])
})

test.each(['stop', 'kill'] as const)('an order ends the start after a cut (%s)', async (order) => {
  const { cuts, ran, stuck } = notThawing(
    (signal) =>
      new Promise((resolve) =>
        signal.addEventListener('abort', () => resolve({ ok: false, why: 'ended', output: '' })),
      ),
  )
  await until(() => ran.includes('start'))
  if (order === 'kill') await cuts.hooks.kill()
  else await cuts.hooks.run('stop', FACTS, new AbortController().signal)
  await until(() => cuts.status.failed > 0)
  expect(ran).toEqual(['freeze', 'thaw', 'start', order])
  expect(stuck).toEqual([])
})

test('a workload that stands still because the agent was killed goes on when the next one begins', async () => {
  const directory = scratch()
  writeFileSync(join(directory, 'x'), '')
  const { child, committed } = startWorkload(directory)
  await until(() => committed() > 0)
  child.kill('SIGSTOP')
  const before = committed()
  runCuts({ every: millis(60_000), wanted: () => undefined, cut: async () => undefined })
  await until(() => committed() > before + 50)
})

test('a workload that could only be held in part is let go', async () => {
  const ran: string[] = []
  const hooks: Hooks = {
    ...noHooks,
    run: async (hook) => {
      ran.push(hook)
      return hook === 'freeze' ? { ok: false, why: 'no', output: '' } : { ok: true, output: '' }
    },
  }
  const cuts = runCuts({ hooks, hasHooks: true, cut: async (hold) => hold(() => Promise.resolve()) })
  await until(() => cuts.status.failed > 0)
  expect(ran.slice(0, 2)).toEqual(['freeze', 'thaw'])
})

test('cuts go on in a new session, and a hand-over between two of them takes everything', async () => {
  const { from, to, primary, replica, follow } = await pair(scratch(), undefined, {
    limits: { cutsOnly: true },
  })
  const cut = () => primary.cut(async (capture) => capture())
  const cutDone = async () => {
    for (;;)
      try {
        return await cut()
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
  }
  writeFileSync(join(from, 'a'), 'first')
  follow()
  await until(() => primary.lags().length > 0)
  await cutDone()
  await until(() => replica.whole)
  await replica.stopFollowing()
  writeFileSync(join(from, 'a'), 'second')
  follow()
  // The first one may still go to the session that has just ended.
  for (const deadline = Date.now() + 30_000; readFileSync(join(to, 'a'), 'utf8') !== 'second'; ) {
    expect(Date.now()).toBeLessThan(deadline)
    await cutDone()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  writeFileSync(join(from, 'b'), Buffer.alloc(4_000_000, 'changed since the last cut '))
  await primary.drain(REPLICA, millis(20_000))
  await primary.seal(REPLICA, millis(20_000), false)
  expect(readFileSync(join(to, 'b')).length).toBe(4_000_000)
})

test('what is too much for a cut is a mixture until the next one, and counts as none', async () => {
  const { from, to, primary, replica, follow, copies } = await pair(scratch(), undefined, {
    limits: { cutsOnly: true, memoryBytes: 2 * 1024 * 1024 },
  })
  const problems: unknown[] = []
  /** One cut after the other. */
  const cutUntil = async (holds: () => boolean) => {
    const deadline = Date.now() + 30_000
    while (!holds() && Date.now() < deadline) {
      await primary.cut(async (capture) => capture()).catch((error: unknown) => problems.push(error))
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(holds()).toBe(true)
  }
  writeFileSync(join(from, 'a'), 'x')
  follow()
  await until(() => primary.lags().length > 0)
  await cutUntil(() => replica.whole)
  writeFileSync(join(from, 'big'), Buffer.alloc(8_000_000, 'more than fits '))
  await cutUntil(() => problems.some((problem) => isAppError(problem, 'conflict')))
  await cutUntil(() => copies.length >= 3 && replica.whole)
  expect(copies.slice(0, 3)).toEqual([true, false, true])
  expect(readFileSync(join(to, 'big')).length).toBe(8_000_000)
})
