import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from './support/fleet.ts'
import { agentProgram, endAll, run, until } from './support/programs.ts'

/** The agent's own record travels with the state, through the real programs. */

let fleet: Fleet
beforeAll(async () => {
  fleet = await startFleet()
})
afterEach(() => endAll())
afterAll(() => fleet.close())

function command(instance: string, ...args: string[]) {
  const env = { COORDINATOR_URL: fleet.rig.coordinator.url }
  return run(agentProgram, [...args, '--config', join(fleet.directoryOf(instance), 'agent.yaml')], { env })
}
async function recordOf(instance: string) {
  const { code, out, err } = await command(instance, 'record', '--json')
  expect({ code, err }).toEqual({ code: 0, err: '' })
  return JSON.parse(out)
}

test('an instance that is promoted knows what the one before it knew, and goes on from there', async () => {
  const before = await fleet.protectedAgent('agent-a')
  const first = before.instance_id ?? ''
  const replica = before.replicas.find(({ status }) => status === 'ready')
  const second = replica?.instance_id ?? ''
  await until('the replica has the record', async () => (await recordOf(second)).switches.length > 0)
  // What has been sent is known on the other side a moment later.
  await until('both have the same record', async () =>
    isDeepStrictEqual(await recordOf(second), await recordOf(first)),
  )

  const known = await fleet.known('agent-a')
  const promoted = await fleet.call('POST', `/api/agents/agent-a/replicas/${replica?.id}/promote`, {
    expected_epoch: before.epoch,
  })
  expect(promoted.status).toBeLessThan(300)
  const incident = await fleet.incidentAfter('agent-a', known)

  await until(
    'it has written down that it is the primary',
    async () => (await recordOf(second)).config.instance === second,
  )
  const { schema, switches, config } = await recordOf(second)
  expect(schema).toBe('understudy.agent-record/v1')
  expect(switches).toMatchObject([
    { kind: 'primary', epoch: before.term, instance: first },
    { kind: 'hand-over', epoch: before.term, instance: first, to: second, incident: incident.id },
    { kind: 'primary', epoch: before.epoch + 1, instance: second, incident: incident.id },
  ])
  expect(config).toMatchObject({ epoch: before.epoch + 1, instance: second })
  expect(JSON.stringify(config)).not.toMatch(/join_token|data_dir/)

  const status = await command(second, 'status', '--json')
  expect(JSON.parse(status.out).record).toMatchObject({ switches: 2, last_switch: { instance: second } })
  expect((await command(second, 'record')).out).toContain(`${second} `.padEnd(21))
})
