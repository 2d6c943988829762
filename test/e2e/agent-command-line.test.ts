import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { agentProgram, createScratch, endAll, run } from './support/programs.ts'

/** What an operator gets wrong on an instance: each ends with a message that says what to do. */

const isRoot = process.geteuid?.() === 0
const scratch = createScratch()
let base = ''
beforeEach(() => {
  base = scratch.directory()
  mkdirSync(join(base, 'state'))
})
afterEach(async () => {
  await endAll()
  scratch.sweep()
})

const GOOD = `
coordinator_url: http://127.0.0.1:1
imds_endpoint: http://127.0.0.1:1
data_dir: data
replication_port: 0
workload:
  state: [state]
  hooks:
    start: { command: [./workload, start] }
    stop: { command: [./workload, stop], timeout_seconds: 5 }
    health: { command: [./workload, health] }
`

function withFile(text: string): string {
  const file = join(base, 'agent.yaml')
  writeFileSync(file, text)
  return file
}
const agent = (args: readonly string[], env: Record<string, string> = {}) =>
  run(agentProgram, args, { env, cwd: base })

test('--help shows commands, options and exit codes, and --version the version', async () => {
  const help = await agent(['--help'])
  expect(help).toMatchObject({ code: 0, err: '' })
  for (const word of ['run', 'status', 'doctor', '--config', 'COORDINATOR_URL', 'JOIN_TOKEN', 'Exit codes'])
    expect(help.out).toContain(word)
  expect(help.out).not.toContain('--join-token')
  const version = await agent(['--version'])
  expect(version.code).toBe(0)
  expect(version.out).toMatch(/^\d+\.\d+\.\d+\n$/)
})

test('a command or an option that does not exist is a usage error with a way out', async () => {
  const command = await agent(['stauts'])
  expect(command.code).toBe(2)
  expect(command.err).toContain('unknown command "stauts", did you mean "status"?\nTry: agent --help')
  const option = await agent(['run', '--data-dri', 'x'])
  expect(option.code).toBe(2)
  expect(option.err).toMatch(/unknown option --data-dri, did you mean "--data-dir"\?\nTry: agent --help/)
})

test('without a file, or with one that is not there, it says which file it looked for', async () => {
  const missing = await agent(['run', '--config', join(base, 'none.yaml')])
  expect(missing.code).toBe(78)
  expect(missing.err).toContain(`${base}/none.yaml cannot be read`)
  expect(missing.err).toContain('Try: Name another one with --config')
  expect(missing.err).not.toContain('    at ')
  expect(missing.out).toBe('')
})

test('every mistake in file, flags and environment is told at once, and nothing is started', async () => {
  const file = withFile(
    `${GOOD.replace('timeout_seconds: 5', 'timeout_seconds: 5s')}jion_token: x\nauto_replica_enabled: perhaps\n`,
  )
  const { code, out, err } = await agent(
    ['run', '--config', file, '--interruption-check-interval', 'NaN', '--replication-port', '7070ms'],
    {
      UNDERSTUDY_REPLICATION_HOTS: 'x',
    },
  )
  expect(code).toBe(78)
  for (const part of [
    'unknown key "jion_token", did you mean "join_token"?',
    'unknown variable UNDERSTUDY_REPLICATION_HOTS, did you mean "UNDERSTUDY_REPLICATION_HOST"?',
    '--interruption-check-interval is "NaN": must be a number from 0.1 to 60',
    '--replication-port is "7070ms": must be a whole number from 0 to 65535',
    'workload.hooks.stop.timeout_seconds is "5s": timeout_seconds must be a number from 0.05 to 3600',
    'auto_replica_enabled is "perhaps": must be true or false',
    'Try: Correct the settings above',
  ])
    expect(err).toContain(part)
  expect(out).toBe('')
  expect(existsSync(join(base, 'data'))).toBe(false)
})

test('a state directory that is not there is named, with the command that makes it', async () => {
  const file = withFile(GOOD.replace('[state]', '[state, gone]'))
  const { code, err } = await agent(['run', '--config', file])
  expect(code).toBe(1)
  expect(err).toContain(
    `the state directory ${base}/gone does not exist\nTry: Create it (mkdir -p ${base}/gone)`,
  )
  expect(existsSync(join(base, 'gone'))).toBe(false)
})

test('a state directory that is a file is no state directory', async () => {
  writeFileSync(join(base, 'file'), 'kept')
  const { code, err } = await agent(['run', '--config', withFile(GOOD.replace('[state]', '[file]'))])
  expect(code).toBe(1)
  expect(err).toMatch(new RegExp(`${base}/file is not a directory\nTry: `))
})

test('a state directory of another user says so', async ({ skip }) => {
  if (isRoot) skip('root may read every directory')
  mkdirSync(join(base, 'secret'), { mode: 0o000 })
  const { code, err } = await agent(['run', '--config', withFile(GOOD.replace('[state]', '[secret]'))])
  expect(code).toBe(1)
  expect(err).toMatch(/secret cannot be (read|written) \(EACCES\)\nTry: /)
})

/** A path below a file cannot be made by anybody, not even by root. */
test('a data directory that cannot be made is told as such', async () => {
  writeFileSync(join(base, 'file'), '')
  const { code, err } = await agent([
    'run',
    '--config',
    withFile(GOOD.replace('data_dir: data', 'data_dir: file/data')),
  ])
  expect(code).toBe(78)
  expect(err).toContain(`the data directory ${base}/file/data cannot be used (ENOTDIR`)
  expect(err).toContain('Try: Set data_dir to a directory that the agent may write')
})

/** Node's own recursive mkdir never returns there (it sees ENOENT again and again). */
test('a data directory in /proc is refused instead of hanging', async () => {
  const { code, err } = await agent([
    'run',
    '--config',
    withFile(GOOD.replace('data_dir: data', 'data_dir: /proc/none/data')),
  ])
  expect(code).toBe(78)
  expect(err).toContain('the data directory /proc/none/data cannot be used')
})

test('an instance that has never enrolled and has no token says where to get one', async () => {
  const { code, err } = await agent(['run', '--config', withFile(GOOD)])
  expect(code).toBe(78)
  expect(err).toContain('there is no join token\nTry: Create one with `coordinator token join --agent <id>`')
})

test('a token is never printed, not even a wrong one', async () => {
  const { code, err, out } = await agent(['run', '--config', withFile(GOOD)], { JOIN_TOKEN: 'tooshort-hush' })
  expect(code).toBe(78)
  expect(err).toContain('JOIN_TOKEN')
  expect(`${err}${out}`).not.toContain('tooshort-hush')
})

test('status without a running agent says how to start one', async () => {
  const { code, out, err } = await agent(['status', '--json', '--config', withFile(GOOD)])
  expect(code).toBe(6)
  expect(out).toBe('')
  expect(err).toContain(`no agent answers on ${base}/data/agent.sock`)
  expect(err).toContain('Try: Start it with `systemctl start understudy-agent`')
})

test('doctor goes through every check also when early ones fail, and says what to do for each', async () => {
  const metadata = createServer((_, response) => response.writeHead(403).end())
  await new Promise<void>((resolve) => metadata.listen(0, '127.0.0.1', resolve))
  const { port } = metadata.address() as AddressInfo
  const file = withFile(
    GOOD.replace('imds_endpoint: http://127.0.0.1:1', `imds_endpoint: http://127.0.0.1:${port}`),
  )
  const { code, out } = await agent(['doctor', '--json', '--config', file])
  metadata.close()
  expect(code).toBe(1)
  const report = JSON.parse(out)
  expect(report).toMatchObject({ schema: 'understudy.agent-doctor/v1', ok: false })
  const failed = report.checks.filter(({ ok }: { ok: boolean }) => !ok)
  expect(failed.map(({ name }: { name: string }) => name)).toEqual([
    'metadata service',
    'coordinator',
    'membership',
    'start hook',
    'stop hook',
    'health hook',
  ])
  for (const check of failed) expect(check.fix, `what to do about ${check.name}`).toMatch(/\w{3,}/)
})

test('doctor says what is wrong with the file', async () => {
  const { code, out } = await agent(['doctor', '--config', withFile('workload: 3\n')])
  expect(code).toBe(1)
  expect(out).toMatch(/^FAIL {2}configuration /)
  expect(out).toContain('coordinator_url is missing')
  expect(out).toContain('Try: ')
})
