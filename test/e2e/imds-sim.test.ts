import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { coordinatorProgram, createScratch, endAll, run, start, until } from './support/programs.ts'

/** The metadata service as a program of its own, as customers run it beside their own tests. */

const scratch = createScratch()
afterEach(async () => {
  await endAll()
  scratch.sweep()
})

const TTL = { 'x-aws-ec2-metadata-token-ttl-seconds': '60' }
const NOTICE = 'latest/meta-data/spot/instance-action'

async function startSim(script?: string) {
  const file = join(scratch.directory(), 'script.yaml')
  writeFileSync(file, script ?? 'timeline: []')
  const sim = start(coordinatorProgram, ['imds-sim', '--port', '0', '--zone', 'us-east-1b', '--script', file])
  const [, url = ''] = await sim.said(/IMDS_ENDPOINT=(\S+?)\)/)
  const put = (headers: Record<string, string> = TTL) =>
    fetch(`${url}/latest/api/token`, { method: 'PUT', headers })
  const token = async () => (await put()).text()
  const get = async (path: string, by?: string, signal?: AbortSignal) =>
    fetch(`${url}/${path}`, {
      headers: by === undefined ? {} : { 'x-aws-ec2-metadata-token': by },
      ...(signal ? { signal } : {}),
    })
  return { sim, put, token, get }
}

test('it speaks version 2 as AWS does: a token first, and nothing without one', async () => {
  const { sim, put, token, get } = await startSim()
  expect((await put({})).status).toBe(400)
  const given = await put()
  expect(given.headers.get('x-aws-ec2-metadata-token-ttl-seconds')).toBe('60')
  expect((await get('latest/meta-data/instance-id')).status).toBe(401)
  expect((await get('latest/meta-data/instance-id', 'wrong')).status).toBe(401)
  const mine = await token()
  expect(await (await get('latest/meta-data/placement/availability-zone', mine)).text()).toBe('us-east-1b')
  expect((await get(NOTICE, mine)).status).toBe(404)
  const document = await (await get('latest/dynamic/instance-identity/document', mine)).json()
  expect(document).toMatchObject({ availabilityZone: 'us-east-1b', instanceType: 'm5.large' })
  sim.signal('SIGTERM')
  expect((await sim.ended).code).toBe(0)
})

test('a script makes it fail in every way that AWS has been seen to, one after the other', async () => {
  const { sim, token, get } = await startSim(`
timeline:
  - { at: 0, interruption: { action: terminate, in: 120 } }
  - { at: 0, fault: { kind: status, status: 401, path: a-401, times: 1 } }
  - { at: 0, fault: { kind: status, status: 503, path: a-503, times: 2 } }
  - { at: 0, fault: { kind: hang, path: hangs, times: 1 } }
  - { at: 0, fault: { kind: slow, delay: 0.3, path: mac, times: 1 } }
  - { at: 0, fault: { kind: content-type, path: ami-id, times: 1 } }
  - { at: 0, fault: { kind: v1-only, path: hostname, times: 1 } }
  - { at: 0, fault: { kind: cut, path: profile, times: 1 } }
  - { at: 0, set: { meta-data/mac: "02:00:00:00:00:01", meta-data/ami-id: ami-1, meta-data/hostname: me } }
`)
  await sim.said(/"set"/)
  const mine = await token()
  expect((await get('latest/meta-data/a-401', mine)).status).toBe(401)
  expect((await get('latest/meta-data/a-503', mine)).status).toBe(503)
  expect((await get('latest/meta-data/a-503', mine)).status).toBe(503)
  expect((await get('latest/meta-data/a-503', mine)).status).toBe(404)
  await expect(get('latest/meta-data/hangs', mine, AbortSignal.timeout(400))).rejects.toThrow(/timeout/i)
  const asked = performance.now()
  expect((await get('latest/meta-data/mac', mine)).status).toBe(200)
  expect(performance.now() - asked).toBeGreaterThan(250)
  expect((await get('latest/meta-data/ami-id', mine)).headers.get('content-type')).toBe(
    'application/octet-stream',
  )
  expect(await (await get('latest/meta-data/hostname')).text()).toBe('me')
  expect((await get('latest/meta-data/hostname')).status).toBe(401)
  await expect(get('latest/meta-data/profile', mine).then((cut) => cut.text())).rejects.toThrow()
  const notice = (await (await get(NOTICE, mine)).json()) as { action: string; time: string }
  expect(notice).toMatchObject({
    action: 'terminate',
    time: expect.stringMatching(/^\d{4}-.*T\d\d:\d\d:\d\dZ$/),
  })
})

test('a notice appears, moves, is over, and is taken back, by the script', async () => {
  const { sim, token, get } = await startSim(`
timeline:
  - { at: 0.0, rebalance: true }
  - { at: 0.1, interruption: { action: stop, in: 120 } }
  - { at: 0.6, interruption: { action: stop, in: 300 } }
  - { at: 1.1, interruption: { action: terminate, in: -60 } }
  - { at: 1.6, withdraw: true }
  - { at: 1.7, forget-tokens: true }
`)
  const mine = await token()
  const seen: string[] = []
  await until('the notice is taken back', async () => {
    const answer = await get(NOTICE, mine)
    const text = answer.status === 200 ? await answer.text() : String(answer.status)
    if (seen.at(-1) !== text) seen.push(text)
    return seen.length > 1 && answer.status !== 200
  })
  const times = seen.filter((text) => text.startsWith('{')).map((text) => JSON.parse(text))
  expect(times.map(({ action }) => action)).toEqual(['stop', 'stop', 'terminate'])
  const [first, moved, past] = times.map(({ time }) => Date.parse(time))
  expect((moved ?? 0) - (first ?? 0)).toBeGreaterThan(170_000)
  expect(past).toBeLessThan(Date.now())
  await sim.said(/forget-tokens/)
  await until('the token is not known any more', async () => (await get(NOTICE, mine)).status === 401)
  const fresh = await token()
  const recommended = await get('latest/meta-data/events/recommendations/rebalance', fresh)
  expect(await recommended.json()).toEqual({ noticeTime: expect.stringMatching(/Z$/) })
})

test('a script that cannot be understood is refused with the place in it', async () => {
  const file = join(scratch.directory(), 'script.yaml')
  writeFileSync(file, 'timeline: [{ at: soon, interruption: { action: explode } }]')
  const { code, err } = await run(coordinatorProgram, ['imds-sim', '--port', '0', '--script', file])
  expect(code).toBe(2)
  expect(err).toContain('timeline.0.at')
  expect(err).toContain('timeline.0.interruption.action')
  expect(err).toContain('Try: docs/imds-simulator.md describes it.')
  const missing = await run(coordinatorProgram, ['imds-sim', '--port', '0', '--script', '/no/such.yaml'])
  expect(missing.code).toBe(2)
  expect(missing.err).toContain('/no/such.yaml cannot be read')
})
