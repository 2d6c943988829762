import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { checkStateDirectories } from '../replication/replication.ts'
import { openRoleStore } from '../role/role-store.ts'
import { openDataDirectory } from './data-directory.ts'
import { loadConfig } from './load.ts'

const scratch: string[] = []
afterEach(() => {
  for (const directory of scratch.splice(0)) rmSync(directory, { recursive: true, force: true })
})
function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'understudy-config-'))
  scratch.push(made)
  return made
}

const GOOD = `
coordinator_url: http://10.0.0.5:8000
workload:
  state: [data, /srv/other]
  hooks:
    start: { command: [systemctl, start, app] }
    stop: { command: [systemctl, stop, app], timeout_seconds: 20 }
    health: { http: "http://127.0.0.1:8080/health" }
`

test('a file is read, paths in it are relative to it, and flags win', () => {
  const base = directory()
  const file = join(base, 'agent.yaml')
  writeFileSync(file, GOOD)
  const { config } = loadConfig(file, { interruption_check_interval: '1' }, { LOG_LEVEL: 'DEBUG' })
  expect(config.workload.state).toEqual([join(base, 'data'), '/srv/other'])
  expect(config.workload.directory).toBe(base)
  expect(config.workload.hooks.stop.timeout_seconds).toBe(20_000)
  expect(config).toMatchObject({ interruption_check_interval: 1, log_level: 'debug' })
})

test('patterns of the state are read as they stand', () => {
  const file = join(directory(), 'agent.yaml')
  writeFileSync(file, GOOD.replace('  hooks:', '  exclude: [tmp/, "**/*.swp"]\n  priority: [wal/]\n  hooks:'))
  const { workload } = loadConfig(file, {}, {}).config
  expect(workload).toMatchObject({ include: [], exclude: ['tmp/', '**/*.swp'], priority: ['wal/'] })
})

test.each([
  ['coordinator_url: [', 'is not YAML'],
  ['- a list', 'must hold a mapping'],
  [GOOD.replace('coordinator_url', 'cordinator_url'), 'did you mean "coordinator_url"?'],
  [GOOD.replace('state:', 'states:'), 'workload'],
  [
    GOOD.replace('  hooks:', '  exclude: [/srv/data/tmp]\n  hooks:'),
    'workload.exclude.0 is "/srv/data/tmp": this pattern begins with "/"',
  ],
  [GOOD.replace('  hooks:', '  include: "*.db"\n  hooks:'), 'must be a list of patterns'],
  [
    `${GOOD}interruption_check_interval: fast\n`,
    'interruption_check_interval is "fast": must be a number from 0.1 to 60',
  ],
])('a wrong file is refused with what is wrong', (text, message) => {
  const file = join(directory(), 'agent.yaml')
  writeFileSync(file, text)
  expect(() => loadConfig(file, {}, {})).toThrow(message)
})

test('a file that is not there names the way out', () => {
  expect(() => loadConfig('/no/such/agent.yaml', {}, {})).toThrow('/no/such/agent.yaml cannot be read')
})

test('a state directory that is missing, a file, or unreadable is told apart', () => {
  const base = directory()
  expect(() => checkStateDirectories([join(base, 'none')])).toThrow(`${base}/none does not exist`)
  writeFileSync(join(base, 'file'), '')
  expect(() => checkStateDirectories([join(base, 'file')])).toThrow('is not a directory')
})

test('an unreadable state directory says so', () => {
  const base = directory()
  chmodSync(base, 0o755)
  mkdirSync(join(base, 'secret'), { mode: 0o000 })
  const asNobody = process.geteuid?.() === 0
  // Root reads everything, so for a moment this process is somebody else.
  if (asNobody) process.seteuid?.(65_534)
  try {
    expect(() => checkStateDirectories([join(base, 'secret')])).toThrow('cannot be read (EACCES)')
  } finally {
    if (asNobody) process.seteuid?.(0)
  }
})

test('two agents never share a data directory, and a lock that was left behind does not matter', () => {
  const base = directory()
  const first = openDataDirectory(base)
  writeFileSync(join(base, 'agent.lock'), '1 0')
  expect(() => openDataDirectory(base).unlock()).not.toThrow()
  first.unlock()
})

test('a damaged record of the epoch is not guessed at', () => {
  const file = join(directory(), 'role.json')
  expect(openRoleStore(file).memory).toEqual({
    epoch: 0,
    active: false,
    handledUpTo: undefined,
    rebalanceAt: undefined,
  })
  writeFileSync(file, '{"epoch":')
  expect(() => openRoleStore(file)).toThrow('cannot be read')
})

test('the record of the epoch survives a restart', async () => {
  const file = join(directory(), 'role.json')
  const store = openRoleStore(file)
  await Promise.all([store.save({ epoch: 3, active: true }), store.save({ epoch: 4 })])
  expect(openRoleStore(file).memory).toMatchObject({ epoch: 4, active: true })
})

test('alternatives are a list, or text with commas; EC2 is reached over https, or on this machine', () => {
  const file = join(directory(), 'agent.yaml')
  const load = (more: string, env: Record<string, string> = {}) => {
    writeFileSync(file, `${GOOD}${more}`)
    return loadConfig(file, {}, env).config
  }
  expect(load('')).toMatchObject({ price_sampling: true, price_interval: 300, alternative_types: [] })
  expect(load('alternative_types: [c5.xlarge, m5.large]\n').alternative_types).toEqual([
    'c5.xlarge',
    'm5.large',
  ])
  expect(load('', { UNDERSTUDY_ALTERNATIVE_TYPES: 'c5.xlarge, m5.metal-24xl' }).alternative_types).toEqual([
    'c5.xlarge',
    'm5.metal-24xl',
  ])
  expect(() => load('alternative_types: [large]\n')).toThrow('must be instance types')
  expect(load('', { UNDERSTUDY_EC2_ENDPOINT: 'http://127.0.0.1:9000' }).ec2_endpoint).toBe(
    'http://127.0.0.1:9000',
  )
  for (const [url, why] of [
    ['http://10.0.0.9', 'must be an https address'],
    ['http://127.0.0.1.evil.example', 'must be an https address'],
    ['https://a:b@ec2.example', 'must not hold credentials'],
    ['https://ec2.example/path', 'without a path'],
    ['ftp://ec2.example', 'must be an http or https address'],
  ] as const)
    expect(() => load('', { UNDERSTUDY_EC2_ENDPOINT: url }), url).toThrow(why)
})
