import { existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { AgentView } from '../../shared/src/protocol/agents.ts'
import { type Fleet, startFleet } from './support/fleet.ts'
import { agentProgram, endAll, run, until } from './support/programs.ts'

/** A workload that waits until a replica has what it wrote, through the real programs. */

let fleet: Fleet
let agent: AgentView
beforeAll(async () => {
  fleet = await startFleet((usual) => (facts) => {
    const machine = usual(facts)
    mkdirSync(join(facts.directory, 'shared'), { mode: 0o750 })
    const file = join(facts.directory, 'agent.yaml')
    const text = readFileSync(file, 'utf8').replace(/^workload:\n/m, 'workload:\n  exclude: ["*.tmp"]\n')
    writeFileSync(file, `${text}\ncommit_socket: shared/commit.sock\n`)
    return machine
  })
  agent = await fleet.protectedAgent('agent-a')
})
afterEach(() => endAll())
afterAll(() => fleet.close())

const primary = () => agent.instance_id ?? ''
const replica = () => agent.replicas.find(({ status }) => status === 'ready')?.instance_id ?? ''
const stateOf = (instance: string, name: string) => join(fleet.directoryOf(instance), 'state', name)

function command(instance: string, ...args: string[]) {
  const env = { COORDINATOR_URL: fleet.rig.coordinator.url }
  return run(agentProgram, [...args, '--config', join(fleet.directoryOf(instance), 'agent.yaml')], { env })
}

/** What a workload in any language does: one request on a unix socket. */
function post(socketPath: string, path: string, body: string): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method: 'POST', path }, (response) => {
      let text = ''
      response.on('data', (part) => (text += part))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }))
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

test('what was written before the call is on the replica when it returns', async () => {
  for (const [index, socket] of ['agent/agent.sock', 'shared/commit.sock', 'shared/commit.sock'].entries()) {
    const text = `${index} `.repeat(50_000)
    writeFileSync(stateOf(primary(), `written-${index}`), text)
    const answer = await post(join(fleet.directoryOf(primary()), socket), '/commit', '{"timeout_ms":20000}')
    expect(answer).toMatchObject({
      status: 200,
      body: { schema: 'understudy.agent-commit/v1', durable_on: [replica()] },
    })
    // Durable may mean in the journal; it is put in place without anything else from the primary.
    const copy = stateOf(replica(), `written-${index}`)
    await until('it is in place', () => existsSync(copy) && readFileSync(copy, 'utf8') === text)
  }
})

test('a name that a pattern excludes is not waited for, and stays here', async () => {
  writeFileSync(stateOf(primary(), 'left.tmp'), 'x')
  writeFileSync(stateOf(primary(), 'sent'), 'x')
  const { status } = await post(join(fleet.directoryOf(primary()), 'agent/agent.sock'), '/commit', '')
  expect(status).toBe(200)
  await until('it is in place', () => existsSync(stateOf(replica(), 'sent')))
  expect(existsSync(stateOf(replica(), 'left.tmp'))).toBe(false)
})

test('the command says who has it; the socket of the group is for the group, and tells nothing else', async () => {
  const { code, out } = await command(primary(), 'commit', '--timeout', '20', '--json')
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ durable_on: [replica()], took_ms: expect.any(Number) })
  expect((await command(primary(), 'commit')).out).toContain(`durable on ${replica()} after`)
  const socket = join(fleet.directoryOf(primary()), 'shared/commit.sock')
  expect(lstatSync(socket).mode & 0o777).toBe(0o660)
  expect((await post(socket, '/status', '')).status).toBe(404)
  const doctor = await command(primary(), 'doctor', '--json')
  expect(JSON.parse(doctor.out).checks).toContainEqual(
    expect.objectContaining({ name: 'commit socket', ok: true }),
  )
})

test('a replica refuses, and a wrong timeout is a usage error', async () => {
  const refused = await command(replica(), 'commit')
  expect(refused).toMatchObject({ code: 4, out: '' })
  expect(refused.err).toContain('not primary')
  expect(await command(primary(), 'commit', '--timeout', 'soon')).toMatchObject({ code: 2 })
  const other = await command(primary(), 'status', '--timeout', '3')
  expect(other).toMatchObject({ code: 2 })
  expect(other.err).toContain('--timeout belongs to commit')
})

test('a replica that stands still is not in time', async () => {
  const pid = Number.parseInt(
    readFileSync(join(fleet.directoryOf(replica()), 'agent/agent.lock'), 'utf8'),
    10,
  )
  process.kill(pid, 'SIGSTOP')
  try {
    writeFileSync(stateOf(primary(), 'late'), 'late')
    const late = await command(primary(), 'commit', '--timeout', '0.5')
    expect(late).toMatchObject({ code: 7, out: '' })
    expect(late.err).toContain('It may still arrive')
  } finally {
    process.kill(pid, 'SIGCONT')
  }
})

test('without a replica nothing is confirmed', async () => {
  const { instance_id: alone } = await fleet.agent('agent-b')
  const { code, out, err } = await command(alone ?? '', 'commit')
  expect({ code, out }).toEqual({ code: 6, out: '' })
  expect(err).toContain('no replica is attached')
})
