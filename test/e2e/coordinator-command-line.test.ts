import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { coordinatorProgram, createScratch, endAll, run, start } from './support/programs.ts'

/** What an operator gets wrong at the coordinator, and the commands around it, as processes. */

const scratch = createScratch()
let base = ''
let database = ''
beforeEach(() => {
  base = scratch.directory()
  database = join(base, 'understudy.db')
})
afterEach(async () => {
  await endAll()
  scratch.sweep()
})

/** What it would look at by itself. */
const NOT_THE_INTERNET = {
  UNDERSTUDY_SPOT_ADVISOR_URL: 'http://127.0.0.1:9/',
  UNDERSTUDY_DEFAULT_MODEL: 'false',
}

const coordinator = (args: readonly string[], env: Record<string, string> = {}) =>
  run(coordinatorProgram, args, { env: { ...NOT_THE_INTERNET, ...env }, cwd: base })
const serving = (...args: string[]) =>
  start(coordinatorProgram, ['serve', '--database', database, '--api-port', '0', ...args], {
    cwd: base,
    env: NOT_THE_INTERNET,
  })
const urlOf = async (running: ReturnType<typeof serving>): Promise<string> =>
  (await running.said(/"coordinator\.listening","url":"([^"]+)"/))[1] ?? ''

test('--help shows every command and option, and --version the version', async () => {
  const help = await coordinator(['--help'])
  expect(help).toMatchObject({ code: 0, err: '' })
  for (const word of [
    'serve',
    'demo',
    'migrate',
    'token',
    'imds-sim',
    '--api-port',
    'API_PORT',
    'Exit codes',
  ])
    expect(help.out).toContain(word)
  expect((await coordinator(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/)
})

test('what a command does not know is a usage error that says what it knows', async () => {
  const option = await coordinator(['serve', '--api-prot', '1'])
  expect(option.code).toBe(2)
  expect(option.err).toContain('unknown option --api-prot, did you mean "--api-port"?\nTry: ')
  const other = await coordinator(['serve', '--seed', '1'])
  expect(other.code).toBe(2)
  expect(other.err).toContain('serve has no option --seed\nTry: ')
  const word = await coordinator(['serve', 'now', '--database', database])
  expect(word.code).toBe(2)
  expect(word.err).toContain('serve takes no "now"\nTry: ')
  expect(existsSync(database)).toBe(false)
})

test('a wrong value and an unknown variable are told at once, before anything is opened', async () => {
  const { code, err } = await coordinator(['serve', '--database', database, '--api-port', 'http'], {
    UNDERSTUDY_LEASSE: '3',
    UNDERSTUDY_HEARTBEAT_INTERVAL: '500ms',
  })
  expect(code).toBe(78)
  expect(err).toContain('--api-port is "http": must be a whole number from 0 to 65535')
  expect(err).toContain('UNDERSTUDY_HEARTBEAT_INTERVAL is "500ms": must be a number from 0.05 to 30')
  expect(err).toContain('unknown variable UNDERSTUDY_LEASSE, did you mean "UNDERSTUDY_LEASE"?')
  expect(existsSync(database)).toBe(false)
})

test('an API that nobody has a key to is not opened to the network', async () => {
  const { code, err } = await coordinator([
    'serve',
    '--database',
    database,
    '--api-port',
    '0',
    '--api-host',
    '0.0.0.0',
  ])
  expect(code).toBe(78)
  expect(err).toContain('there is no operator token, so the API is not opened on 0.0.0.0')
  expect(err).toContain('Try: Create one first: coordinator token create --name me --role admin')
})

test('a token is printed once, works, and ends when it is revoked', async () => {
  const created = await coordinator([
    'token',
    'create',
    '--name',
    'me',
    '--role',
    'viewer',
    '--database',
    database,
  ])
  expect(created.code).toBe(0)
  const token = created.out.trim()
  expect(token).toMatch(/^us_[0-9a-f]{16}_\S{20,}$/)
  const listed = await coordinator(['token', 'list', '--json', '--database', database])
  expect(listed.out).not.toContain(token)
  const { items } = JSON.parse(listed.out)
  expect(items).toMatchObject([{ name: 'me', role: 'viewer', revoked: false }])

  const running = serving('--api-host', '0.0.0.0')
  const url = (await urlOf(running)).replace('0.0.0.0', '127.0.0.1')
  const ask = async (headers: Record<string, string>) =>
    (await fetch(`${url}/api/agents`, { headers })).status
  expect(await ask({})).toBe(401)
  expect(await ask({ authorization: `Bearer ${token}` })).toBe(200)
  expect((await coordinator(['token', 'revoke', items[0].id, '--database', database])).code).toBe(0)
  expect(await ask({ authorization: `Bearer ${token}` })).toBe(401)
  expect(running.text()).not.toContain(token)
  running.signal('SIGTERM')
  expect((await running.ended).code).toBe(0)
})

test('a token of no known role, or without a verb, is a usage error', async () => {
  const role = await coordinator(['token', 'create', '--name', 'x', '--role', 'root', '--database', database])
  expect(role.code).toBe(2)
  expect(role.err).toContain('--role is "root": it must be viewer, operator, admin')
  const verb = await coordinator(['token', 'mint', '--database', database])
  expect(verb.code).toBe(2)
  expect(verb.err).toContain('"mint" is not create, join, list or revoke')
})

test('a port in use names the port and the option, and nothing else is changed', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as { port: number }
  const { code, err } = await coordinator(['serve', '--database', database, '--api-port', String(port)])
  taken.close()
  expect(code).toBe(78)
  expect(err).toContain(
    `the port 127.0.0.1:${port} is in use\nTry: Stop what uses it, or choose another one with --api-port.`,
  )
})

test('a second coordinator on the same database is refused, and the first goes on', async () => {
  const first = serving()
  const url = await urlOf(first)
  const second = await coordinator(['serve', '--database', database, '--api-port', '0'])
  expect(second.code).toBe(4)
  expect(second.err).toContain('is in use by another coordinator\nTry: ')
  expect((await fetch(`${url}/livez`)).status).toBe(200)
  first.signal('SIGTERM')
  const { code, out } = await first.ended
  expect(code).toBe(0)
  expect(out).toContain('"event":"coordinator.stopped"')
})

test('migrate says what it did, and a second time that there is nothing to do', async () => {
  const dry = await coordinator(['migrate', '--dry-run', '--json', '--database', database])
  expect(JSON.parse(dry.out)).toMatchObject({ dry_run: true, steps: expect.arrayContaining(['0001-first']) })
  const first = await coordinator(['migrate', '--database', database])
  expect(first).toMatchObject({ code: 0, out: expect.stringMatching(/^done: 0001/) })
  const second = await coordinator(['migrate', '--database', database])
  expect(second).toMatchObject({ code: 0, out: `${database} is up to date\n`, err: '' })
})

test('a database that a newer version has used is left as it is', async () => {
  await coordinator(['migrate', '--database', database])
  const db = new DatabaseSync(database)
  db.prepare("insert into kysely_migration (name, timestamp) values ('0999-future', '2030')").run()
  db.close()
  const { code, err } = await coordinator(['serve', '--database', database, '--api-port', '0'])
  expect(code).toBe(78)
  expect(err).toContain(
    'was used by a newer version (it has 0999-future)\nTry: Start that version again, or restore the backup',
  )
})

test('a damaged database is told as damaged, and not one byte of it is changed', async () => {
  await coordinator(['migrate', '--database', database])
  const bytes = readFileSync(database)
  bytes.fill(0xaa, 4096, bytes.length - 4096)
  writeFileSync(database, bytes)
  const { code, err } = await coordinator(['serve', '--database', database, '--api-port', '0'])
  expect(code).toBe(78)
  expect(err).toMatch(/understudy\.db is damaged \(.*malformed.*\)\nTry: .*backup/)
  expect(readFileSync(database).equals(bytes)).toBe(true)
})

test('a file that is no database is refused, and kept', async () => {
  writeFileSync(database, 'a letter to my grandmother'.repeat(100))
  const { code, err } = await coordinator(['token', 'list', '--database', database])
  expect(code).toBe(78)
  expect(err).toContain('is not a SQLite database\nTry: Name the right file with --database.')
  expect(readFileSync(database, 'utf8')).toContain('a letter to my grandmother')
})

test.each(['file/below', '/proc/none'])(
  'a directory that nobody can write (%s) is told as such',
  async (place) => {
    writeFileSync(join(base, 'file'), '')
    const { code, err } = await coordinator([
      'serve',
      '--database',
      `${place}/understudy.db`,
      '--api-port',
      '0',
    ])
    expect(code).toBe(78)
    expect(err).toContain(`the database ${place}/understudy.db cannot be opened`)
    expect(err).toContain('Try: The coordinator must be able to write the file and its directory.')
  },
)
