import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from './support/fleet.ts'
import { agentProgram, createScratch, endAll, processesWith, run, start, until } from './support/programs.ts'

/** Commands and signals at an agent that runs, with its coordinator, metadata service and workload. */

const scratch = createScratch()
let fleet: Fleet
let instance = ''
let home = ''
let config = ''
let env: Record<string, string> = {}

beforeAll(async () => {
  fleet = await startFleet()
  instance = (await fleet.agent('agent-a')).instance_id ?? ''
  home = fleet.directoryOf(instance)
  config = join(home, 'agent.yaml')
  env = {
    COORDINATOR_URL: fleet.rig.coordinator.url,
    IMDS_ENDPOINT: fleet.rig.cloud.imdsOf(instance as Parameters<Fleet['rig']['cloud']['imdsOf']>[0])
      .endpoint,
  }
})
afterEach(async () => {
  await endAll()
  scratch.sweep()
})
afterAll(() => fleet.close())

/** The file of the running agent with a data directory of its own. */
function anotherConfig(dataDirectory: string, more = ''): string {
  const file = join(scratch.directory(), 'agent.yaml')
  const state = join(home, 'state')
  const text = readFileSync(config, 'utf8')
    .replace(/^data_dir: .*$/m, `data_dir: ${dataDirectory}`)
    .replace(/^( *)- state$/m, `$1- ${state}`)
  writeFileSync(file, `${text}${more}`)
  return file
}
const stillServes = async () => {
  const agent = await fleet.rig.operator.agent('agent-a')
  return { instance: agent.instance_id, epoch: agent.epoch, workload: agent.workload, phase: agent.phase }
}
const asBefore = () => ({ instance, epoch: 1, workload: 'running', phase: 'steady' })

test('status and doctor of a running agent say that all is well', async () => {
  const status = await run(agentProgram, ['status', '--json', '--config', config], { env })
  expect(status.code).toBe(0)
  expect(JSON.parse(status.out)).toMatchObject({
    schema: 'understudy.agent-status/v1',
    agent_id: 'agent-a',
    instance_id: instance,
    connected: true,
    role: 'primary',
    epoch: 1,
    workload: 'running',
    degraded: [],
  })
  const doctor = await run(agentProgram, ['doctor', '--json', '--config', config], { env })
  const report = JSON.parse(doctor.out)
  expect(report.checks.filter(({ ok }: { ok: boolean }) => !ok)).toEqual([])
  expect(doctor.code).toBe(0)
})

test('a second agent on the same data directory is refused, and the first goes on', async () => {
  const { code, err } = await run(agentProgram, ['run', '--config', config], { env })
  expect(code).toBe(4)
  expect(err).toMatch(/another agent \(process \d+\) uses the data directory .*\nTry: Stop it first/)
  expect(await stillServes()).toEqual(asBefore())
})

test('a second agent that claims the same instance is refused, and the first goes on', async () => {
  const { body } = await fleet.call('POST', '/api/agents/agent-a/join-tokens', {})
  const file = anotherConfig(join(scratch.directory(), 'data'))
  const { code, err } = await run(
    agentProgram,
    ['run', '--config', file, '--replication-port', '0', '--voter-port', '0'],
    {
      env: { ...env, JOIN_TOKEN: body.join_token },
    },
  )
  expect(code).toBe(4)
  expect(err).toContain(`the instance ${instance} has enrolled before, for the agent agent-a`)
  expect(err).toContain(`coordinator token join --agent agent-a --instance ${instance}`)
  expect(await stillServes()).toEqual(asBefore())
})

test('a replication port in use is named, with the option that changes it', async () => {
  const data = join(scratch.directory(), 'data')
  mkdirSync(data)
  cpSync(join(home, 'agent/enrolment.json'), join(data, 'enrolment.json'))
  const { code, err } = await run(agentProgram, ['run', '--config', anotherConfig(data)], { env })
  expect(code).toBe(78)
  expect(err).toMatch(/port .*\d+ is in use\nTry: .*replication_port/)
  expect(await stillServes()).toEqual(asBefore())
})

test('a status socket that cannot be opened is told as such', async () => {
  const data = join(scratch.directory(), 'data')
  mkdirSync(join(data, 'agent.sock'), { recursive: true })
  cpSync(join(home, 'agent/enrolment.json'), join(data, 'enrolment.json'))
  const { code, err } = await run(
    agentProgram,
    ['run', '--config', anotherConfig(data), '--replication-port', '0', '--voter-port', '0'],
    { env },
  )
  expect(code).toBe(78)
  expect(err).toContain(`the status socket ${data}/agent.sock cannot be opened`)
  expect(err).toContain('Try: Remove what is there')
  expect(err).not.toContain('    at ')
})

test('a metadata service that hangs degrades the agent, and ends nothing', async () => {
  const imds = fleet.rig.cloud.imdsOf(instance as Parameters<Fleet['rig']['cloud']['imdsOf']>[0])
  imds.fail({ kind: 'hang' })
  const degraded = async () => (await fleet.rig.operator.agent('agent-a')).degraded
  await until('the coordinator sees it', async () => (await degraded()).length > 0)
  const [first] = await degraded()
  expect(first).toMatchObject({ code: expect.stringMatching(/^imds_/), hint: expect.stringMatching(/\w+/) })
  const status = await run(agentProgram, ['status', '--config', config], { env })
  expect(status.code).toBe(8)
  expect(status.out).toMatch(/^# .*metadata service.*\n# {3}Try: /)
  expect(await stillServes()).toEqual(asBefore())
  imds.clearFaults()
  await until('it has healed', async () => (await degraded()).length === 0)
})

test('SIGTERM ends an agent with 0, and its workload by the stop hook; started again it goes on with its state', async () => {
  const pidOf = (file: string) => Number.parseInt(readFileSync(join(home, file), 'utf8'), 10)
  const workloads = () => processesWith(`STATE_DIR=${join(home, 'state')}`)
  expect(workloads()).toContain(pidOf('workload.pid'))
  process.kill(pidOf('agent/agent.lock'), 'SIGTERM')
  await until('it has let its data directory go', () => !existsSync(join(home, 'agent/agent.lock')))
  expect(existsSync(join(home, 'workload.pid'))).toBe(false)
  expect(workloads()).toEqual([])

  const again = start(agentProgram, ['run', '--config', config], { env, cwd: home })
  await until('it serves again', async () => {
    const { epoch, workload, phase } = await stillServes()
    return epoch > 1 && workload === 'running' && phase === 'steady'
  })
  expect((await fleet.rig.judge.verify('agent-a')).verdict).toMatchObject({ missing: [], wrong: 0 })
  again.signal('SIGTERM')
  const { code, out } = await again.ended
  expect(code).toBe(0)
  expect(out).toContain('"event":"agent.stopping","signal":"SIGTERM"')
  expect(workloads()).toEqual([])
})
