import { execFile } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { request, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError, isAppError } from '@understudy/shared/core/app-error'
import { instanceId } from '@understudy/shared/core/ids'
import { type Millis, seconds, systemClock } from '@understudy/shared/core/time'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { type AgentStatus, askStatus, serveStatus } from '../status/status-socket.ts'
import { askCommit, type Commit, commitBudget, commitRoutes, createCommit, serveCommit } from './commit.ts'

const log = pino({ level: 'silent' })
const REPLICA = instanceId('i-replica1')
const cleanups: (() => void)[] = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup()
})
function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'understudy-commit-'))
  cleanups.push(() => rmSync(made, { recursive: true, force: true }))
  return made
}
const closed = (server: Server) => {
  cleanups.push(() => void server.close())
  return server
}
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: unknown) => (isAppError(error) ? error.code : String(error)),
  )

/** A replication whose commits end when the test says so. */
function fake({ attached = true, isPrimary = true, clock = systemClock } = {}) {
  const runs: { budget: Millis; end: (result: readonly ReturnType<typeof instanceId>[] | Error) => void }[] =
    []
  const commit = createCommit({
    clock,
    isPrimary: () => isPrimary,
    replication: {
      lags: () => [{ lag: { attached } }],
      commit: (budget) =>
        new Promise((resolve, reject) =>
          runs.push({
            budget,
            end: (result) => (result instanceof Error ? reject(result) : resolve(result)),
          }),
        ),
    },
  })
  return { commit, runs }
}

test('it names who has it, and how long that took', async () => {
  const { clock, advance } = createVirtualTime()
  const { commit, runs } = fake({ clock })
  const answer = commit(seconds(3))
  await advance(25)
  runs[0]?.end([REPLICA])
  expect(await answer).toEqual({ durableOn: [REPLICA], took: 25 })
  expect(runs[0]?.budget).toBe(3000)
})

test('those who ask while four looks are under way share the next one, which begins after all of them', async () => {
  const { commit, runs } = fake()
  const first = Array.from({ length: 4 }, () => commit(seconds(5)))
  const rest = Array.from({ length: 50 }, () => commit(seconds(5)))
  expect(runs).toHaveLength(4)
  runs[0]?.end([REPLICA])
  await first[0]
  await expect.poll(() => runs.length).toBe(5)
  let settled = false
  void rest[0]?.then(() => (settled = true))
  for (const run of runs.slice(1, 4)) run.end([REPLICA])
  await Promise.all(first)
  // A look that began before the call says nothing about it.
  expect(settled).toBe(false)
  runs[4]?.end([REPLICA])
  expect(await Promise.all(rest)).toHaveLength(50)
  expect(runs).toHaveLength(5)
})

test('not primary, nobody attached, not in time and failed are told apart', async () => {
  expect(await codeOf(fake({ isPrimary: false }).commit(seconds(1)))).toBe('conflict')
  expect(await codeOf(fake({ attached: false }).commit(seconds(1)))).toBe('unavailable')

  const { clock, advance } = createVirtualTime()
  const slow = fake({ clock })
  const late = codeOf(slow.commit(seconds(1)))
  await advance(1001)
  expect(await late).toBe('outcome_unknown')

  const failing = fake()
  const failed = [codeOf(failing.commit(seconds(1))), codeOf(failing.commit(seconds(1)))]
  failing.runs[0]?.end(new AppError('not_ready', 'nobody has it'))
  failing.runs[1]?.end(new AppError('conflict', 'this instance is not primary'))
  expect(await Promise.all(failed)).toEqual(['outcome_unknown', 'conflict'])
})

test('more than a thousand who wait are refused, and nobody before them is lost', async () => {
  const { commit, runs } = fake()
  const asked = Array.from({ length: 1004 }, () => commit(seconds(60)))
  expect(await codeOf(commit(seconds(60)))).toBe('busy')
  while (runs.length < 5) {
    runs.at(-1)?.end([REPLICA])
    await new Promise(setImmediate)
  }
  for (const run of runs) run.end([REPLICA])
  expect((await Promise.all(asked)).every(({ durableOn }) => durableOn[0] === REPLICA)).toBe(true)
})

test.each(['0', '-1', '', 'soon', '601', 'Infinity'])('--timeout %j is refused', (text) => {
  expect(() => commitBudget(text)).toThrow('must be seconds')
})
test('--timeout is in seconds, ten by default', () => {
  expect([commitBudget(undefined), commitBudget('2.5')]).toEqual([10_000, 2500])
})

const always: Commit = async (budget) => ({ durableOn: [REPLICA], took: budget })

/** One raw request; the status and the parsed body. */
function raw(
  socketPath: string,
  method: string,
  path: string,
  body = '',
): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path }, (response) => {
      let text = ''
      response.on('data', (part) => (text += part))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }))
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

test('the socket of a group answers commits and nothing else, to its members only', async () => {
  const base = directory()
  chmodSync(base, 0o755)
  const shared = join(base, 'run')
  mkdirSync(shared)
  chmodSync(shared, 0o755)
  const root = process.geteuid?.() === 0
  if (root) chownSync(shared, 0, 65_533)
  const path = join(shared, 'commit.sock')
  const mask = process.umask()
  closed(await serveCommit(path, always, log))
  expect(process.umask()).toBe(mask)
  const stats = lstatSync(path)
  expect(stats.isSocket()).toBe(true)
  expect(stats.mode & 0o777).toBe(0o660)
  expect(stats.gid).toBe(lstatSync(shared).gid)
  expect(await askCommit(path, seconds(20))).toEqual({
    schema: 'understudy.agent-commit/v1',
    durable_on: [REPLICA],
    took_ms: 20_000,
  })
  expect(await raw(path, 'POST', '/commit')).toMatchObject({ status: 200, body: { took_ms: 10_000 } })
  expect(await raw(path, 'GET', '/status')).toMatchObject({ status: 404, body: { code: 'not_found' } })
  expect(await raw(path, 'GET', '/commit')).toMatchObject({ status: 404 })
})

const runsForOthers = () =>
  new Promise<boolean>((resolve) => {
    execFile(process.execPath, ['--version'], { uid: 65_534, gid: 65_534, cwd: '/' }, (error) =>
      resolve(!error),
    )
  })

test('another user may ask where the group lets it, and not otherwise', async ({ skip }) => {
  if (process.geteuid?.() !== 0) return skip('only root can ask as somebody else')
  const base = directory()
  chmodSync(base, 0o755)
  const shared = join(base, 'run')
  mkdirSync(shared, { mode: 0o750 })
  chownSync(shared, 0, 65_533)
  const path = join(shared, 'commit.sock')
  closed(await serveCommit(path, always, log))
  const program = `require('node:http').request({ socketPath: ${JSON.stringify(path)}, path: '/commit', method: 'POST' }, (r) => { console.log(r.statusCode); r.resume() }).on('error', (e) => console.log(e.code)).end()`
  const askAs = (gid: number) =>
    new Promise<string>((resolve) => {
      // The server is in this process, so the question must not block it.
      execFile(process.execPath, ['-e', program], { uid: 65_534, gid, cwd: '/' }, (_, out) =>
        resolve(out.trim()),
      )
    })
  if (!(await runsForOthers())) return skip('this Node lies in a directory that other users may not enter')
  expect(await askAs(65_533)).toBe('200')
  expect(await askAs(65_534)).toBe('EACCES')
})

test.each([
  ['{', 400, 'input_invalid'],
  ['{"timeout_ms":0}', 400, 'input_invalid'],
  ['{"timeout_ms":"1"}', 400, 'input_invalid'],
  ['{"timeout":1}', 400, 'input_invalid'],
  ['[]', 400, 'input_invalid'],
  [`{"timeout_ms":1${' '.repeat(5000)}}`, 413, 'payload_too_large'],
])('the body %j is refused', async (body, status, code) => {
  const path = join(directory(), 'agent.sock')
  closed(await serveStatus(path, () => ({}) as AgentStatus, commitRoutes(always), log))
  const answer = await raw(path, 'POST', '/commit', body)
  expect(answer).toMatchObject({ status, body: { code } })
})

test('refusals come with code, status and hint, and a bug without its text', async () => {
  const path = join(directory(), 'agent.sock')
  let error: Error = new AppError('conflict', 'this instance is not primary', { hint: 'ask the other one' })
  const failing: Commit = async () => {
    throw error
  }
  closed(await serveStatus(path, () => ({}) as AgentStatus, commitRoutes(failing), log))
  expect(await raw(path, 'POST', '/commit')).toMatchObject({
    status: 409,
    body: { code: 'conflict', detail: 'this instance is not primary', hint: 'ask the other one' },
  })
  await expect(askCommit(path, seconds(10))).rejects.toMatchObject({
    code: 'conflict',
    hint: 'ask the other one',
  })
  for (const [code, status] of [
    ['unavailable', 503],
    ['outcome_unknown', 504],
  ] as const) {
    error = new AppError(code, 'no')
    expect(await raw(path, 'POST', '/commit')).toMatchObject({ status, body: { code } })
  }
  error = new Error('a secret detail')
  const bug = await raw(path, 'POST', '/commit')
  expect(bug.status).toBe(500)
  expect(JSON.stringify(bug.body)).not.toContain('secret')
  expect(lstatSync(path).mode & 0o777).toBe(0o700)
  await expect(askStatus(path)).rejects.toMatchObject({ code: 'protocol' })
})

test('a directory in which others could put a socket of their own is refused, and so is a file in the way', async () => {
  const base = directory()
  const path = join(base, 'commit.sock')
  chmodSync(base, 0o770)
  await expect(serveCommit(path, always, log)).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining('others may write'),
  })
  chmodSync(base, 0o750)
  writeFileSync(path, 'precious')
  await expect(serveCommit(path, always, log)).rejects.toThrow('something else of that name')
  expect(readFileSync(path, 'utf8')).toBe('precious')
  await expect(serveCommit(join(base, 'none', 'commit.sock'), always, log)).rejects.toMatchObject({
    hint: expect.stringContaining('install -d'),
  })
  await expect(serveCommit(join(base, 'x'.repeat(110)), always, log)).rejects.toThrow('cannot be opened')
  rmSync(path)
  const server = await serveCommit(path, always, log)
  // One that was killed leaves its socket behind.
  closed(await serveCommit(path, always, log))
  server.close()
  expect(existsSync(base)).toBe(true)
})

test('where no agent answers, it says so', async () => {
  await expect(askCommit(join(directory(), 'agent.sock'), seconds(1))).rejects.toMatchObject({
    code: 'unavailable',
  })
})
