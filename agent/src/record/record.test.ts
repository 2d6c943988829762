import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type IncidentId, instanceId } from '@understudy/shared/core/ids'
import { instant, millis } from '@understudy/shared/core/time'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { newMember } from '@understudy/shared/failover/member'
import type { Member, Role } from '@understudy/shared/failover/member-types'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { loadConfig } from '../config/load.ts'
import type { PriceSample } from '../market/price-lines.ts'
import { openRecord, printRecord, readRecord, recordStatus, withRecord } from './record.ts'

const scratch: string[] = []
afterEach(() => {
  for (const directory of scratch.splice(0)) rmSync(directory, { recursive: true, force: true })
})
function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'understudy-record-'))
  scratch.push(made)
  return made
}

const FIRST = instanceId('i-first1')
const SECOND = instanceId('i-second2')
const INCIDENT = '6f2d5c1e-8f6a-4c3b-9d2e-0123456789ab' as IncidentId
const START = Date.parse('2026-11-21T06:00:00Z')

const FILE = `
coordinator_url: http://admin:hunter2@10.0.0.5:8000
join_token: a-join-token-of-some-length
data_dir: own
workload:
  state: [/srv/kv]
  environment: { PASSWORD: s3cret }
  hooks:
    start: { command: [bin/start, --password, s3cret] }
    stop: { command: [bin/stop] }
    health: { http: "http://user:s3cret@127.0.0.1:8080/health?key=s3cret" }
`

function open(base: string, self = FIRST) {
  const file = join(directory(), 'agent.yaml')
  writeFileSync(file, FILE)
  const clock = { ...createVirtualTime().clock, now: () => instant(now) }
  let now = START
  const lines: string[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(line) })
  const { config } = loadConfig(file, {}, {})
  const record = openRecord({ directory: join(base, 'record'), self, config, version: '1.2.3', clock, log })
  const settled = () => record.still(async () => undefined)
  return { record, settled, lines, pass: (by: number) => (now += by) }
}

const member = (epoch: number, role: Role, incident?: IncidentId): Member => ({
  ...newMember(defaultLeasePolicy),
  epoch,
  term: epoch,
  role,
  incident,
})
const promoting = (epoch: number, incident?: IncidentId, fresh = false) =>
  member(epoch, { kind: 'promoting', step: 'checking', fresh }, incident)
const primary = (epoch: number) => member(epoch, { kind: 'primary' })
const handingOver = (epoch: number, urgent = true) =>
  member(
    epoch,
    { kind: 'handing-over', step: 'draining', target: SECOND, budget: millis(1000), urgent },
    INCIDENT,
  )

test('who becomes primary writes it down, with the incident; the next one goes on from there', async () => {
  const base = directory()
  const first = open(base)
  for (const role of [promoting(1), primary(1), handingOver(1), member(1, { kind: 'released' })])
    first.record.onRole(role)
  // It has given its epoch up before the file was written: what is written then stays here.
  await first.settled()
  expect(first.record.read().switches).toEqual([])

  for (const role of [promoting(2), primary(2)]) first.record.onRole(role)
  await first.settled()
  first.record.onRole(handingOver(2))
  await first.settled()
  first.record.onRole(member(2, { kind: 'released' }))

  const second = open(base, SECOND)
  second.pass(1500)
  for (const role of [member(2, { kind: 'replica', primary: FIRST }), promoting(3, INCIDENT), primary(3)])
    second.record.onRole(role)
  await second.settled()
  expect(second.record.read().switches).toEqual([
    { kind: 'primary', epoch: 2, at: '2026-11-21T06:00:00.000Z', instance: FIRST },
    {
      kind: 'hand-over',
      epoch: 2,
      at: '2026-11-21T06:00:00.000Z',
      instance: FIRST,
      incident: INCIDENT,
      to: SECOND,
      urgent: true,
    },
    { kind: 'primary', epoch: 3, at: '2026-11-21T06:00:01.500Z', instance: SECOND, incident: INCIDENT },
  ])
  expect(recordStatus(second.record)).toMatchObject({
    switches: 2,
    last_switch: { instance: SECOND, epoch: 3 },
  })
  expect(printRecord(second.record.read())).toContain(
    `epoch 2     i-first1             began to hand over to i-second2 because of a notice (incident ${INCIDENT})`,
  )
})

test('a hand-over that is called off is told, and a start with nothing too', async () => {
  const { record, settled } = open(directory())
  for (const role of [promoting(4, undefined, true), primary(4), handingOver(4, false), primary(4)])
    record.onRole(role)
  await settled()
  expect(record.read().switches.map(({ kind, fresh, incident }) => ({ kind, fresh, incident }))).toEqual([
    { kind: 'primary', fresh: true, incident: undefined },
    { kind: 'hand-over', fresh: undefined, incident: INCIDENT },
    { kind: 'called-off', fresh: undefined, incident: INCIDENT },
  ])
})

test('a replica writes nothing', async () => {
  const base = directory()
  const { record, settled } = open(base)
  for (const role of [member(1, { kind: 'replica', primary: SECOND }), promoting(2)]) record.onRole(role)
  await record.prices.add([{ pool: 'c5.large@ap-south-1a', at: new Date(START).toISOString(), usd: 1 }])
  await settled()
  expect(readdirSync(join(base, 'record'))).toEqual([])
})

test('the configuration travels without secrets and without what concerns one instance', async () => {
  const base = directory()
  const { record, settled } = open(base)
  record.onRole(primary(7))
  await settled()
  const text = readFileSync(join(base, 'record', 'config.json'), 'utf8')
  for (const secret of ['hunter2', 's3cret', 'a-join-token']) expect(text).not.toContain(secret)
  expect(record.read().config).toMatchObject({
    schema: 'understudy.agent-config/v1',
    epoch: 7,
    instance: FIRST,
    version: '1.2.3',
    config: {
      coordinator_url: 'http://10.0.0.5:8000',
      interruption_check_interval: 2,
      workload: {
        state: ['/srv/kv'],
        environment: ['PASSWORD'],
        hooks: {
          start: { program: 'bin/start', timeout_seconds: 30 },
          health: { http: 'http://127.0.0.1:8080/health' },
        },
      },
    },
  })
  expect(record.read().config?.config).not.toHaveProperty('data_dir')
  expect(record.read().config?.config).not.toHaveProperty('replication_port')
  expect(statSync(join(base, 'record')).mode & 0o777).toBe(0o700)
})

const sample = (minutesAgo: number, usd = 0.05, pool = 'c5.large@ap-south-1a'): PriceSample => ({
  pool,
  at: new Date(START - minutesAgo * 60_000).toISOString(),
  usd,
})

test('prices of the last hour are kept once each, in order', async () => {
  const { record, pass } = open(directory())
  record.onRole(primary(1))
  await record.prices.add([sample(10), sample(59), sample(61), sample(10, 0.06)])
  await record.prices.add([sample(10, 0.06), sample(30, 0.04, 'm5.large@ap-south-1b')])
  expect(record.read().prices).toEqual([
    sample(59),
    sample(30, 0.04, 'm5.large@ap-south-1b'),
    sample(10, 0.06),
  ])
  pass(40 * 60_000)
  expect(record.read().prices).toEqual([sample(10, 0.06)])
  await record.prices.add([])
  expect(printRecord(record.read())).toContain('c5.large@ap-south-1a           0.06 USD per hour')
})

test('the last 1,000 switches are kept, and damaged lines cost only themselves', async () => {
  const base = directory()
  const { record, settled } = open(base)
  const file = join(base, 'record', 'switches.jsonl')
  const line = (epoch: number) =>
    `${JSON.stringify({ kind: 'primary', epoch, at: '2026-01-01T00:00:00Z', instance: FIRST })}\n`
  writeFileSync(file, Array.from({ length: 1100 }, (_, index) => line(index)).join(''))
  appendFileSync(file, '{"kind":"primary","epoch":\n\0\0\xff\n{"kind":"other"}\nnull\n')
  appendFileSync(file, line(5000).trimEnd())
  record.onRole(primary(5001))
  await settled()
  const { switches } = record.read()
  expect(switches).toHaveLength(1000)
  expect(switches.slice(-2).map(({ epoch }) => epoch)).toEqual([5000, 5001])
  expect(readFileSync(file, 'utf8').split('\n')).toHaveLength(1001)
})

test('links that came with the stream are neither read nor written through', async () => {
  const base = directory()
  const { record, settled } = open(base)
  const outside = join(base, 'outside')
  writeFileSync(
    outside,
    `${JSON.stringify({ kind: 'primary', epoch: 1, at: '2026-01-01T00:00:00Z', instance: FIRST })}\n`,
  )
  const before = readFileSync(outside, 'utf8')
  for (const name of ['switches.jsonl', 'switches.jsonl.next', 'config.json.next'])
    symlinkSync(outside, join(base, 'record', name))
  expect(record.read().switches).toEqual([])
  record.onRole(primary(2))
  await settled()
  expect(record.read().switches.map(({ epoch }) => epoch)).toEqual([2])
  expect(readFileSync(outside, 'utf8')).toBe(before)
})

test('what cannot be written is logged, and nothing else happens', async () => {
  const base = directory()
  const { record, settled, lines } = open(base)
  mkdirSync(join(base, 'record', 'switches.jsonl', 'in-the-way'), { recursive: true })
  record.onRole(primary(1))
  await settled()
  expect(lines.join('')).toContain('record.not_written')
  expect(readRecord(join(base, 'none'), instant(START))).toEqual({
    switches: [],
    prices: [],
    config: undefined,
  })
})

test('nothing is recorded during a seal', async () => {
  const base = directory()
  const { record, settled } = open(base)
  record.onRole(primary(1))
  await record.prices.add([sample(1)])
  const sealed = { seq: 1, unreadable: 0, leftBytes: 0, why: '' }
  let sealing = ''
  let release = () => {}
  const replication = withRecord(
    {
      serve: async () => undefined,
      stopServing: () => undefined,
      stopFollowing: async () => undefined,
      drain: async () => undefined,
      seal: async () => {
        sealing = readFileSync(join(base, 'record', 'switches.jsonl'), 'utf8')
        await new Promise<void>((resolve) => (release = resolve))
        expect(readFileSync(join(base, 'record', 'switches.jsonl'), 'utf8')).toBe(sealing)
        return sealed
      },
      finish: async () => undefined,
    },
    record,
  )
  record.onRole(handingOver(1))
  const sealDone = replication.seal(SECOND, millis(1000), true)
  await expect.poll(() => sealing).not.toBe('')
  // What came before the seal is in it.
  expect(sealing).toContain('hand-over')
  record.onRole(primary(1))
  release()
  await sealDone
  await settled()
  expect(record.read().switches.at(-1)?.kind).toBe('called-off')
})
