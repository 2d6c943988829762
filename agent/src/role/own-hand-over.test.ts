import { instanceId } from '@understudy/shared/core/ids'
import { mono } from '@understudy/shared/core/time'
import { defaultLeasePolicy } from '@understudy/shared/failover/lease'
import { newMember } from '@understudy/shared/failover/member'
import { expect, test } from 'vitest'
import { decideOwnHandOver, type Reason, type Surroundings } from './own-hand-over.ts'

const B = instanceId('i-bbbb')
const surroundings: Surroundings = {
  now: mono(10_000),
  member: {
    ...newMember(defaultLeasePolicy),
    epoch: 4,
    term: 3,
    role: { kind: 'primary' },
    workload: 'running',
    exposed: true,
    lease: { kind: 'until', at: mono(10_800) },
  },
  successor: B,
  peers: [B],
  attached: [B],
  linked: false,
}
const reason: Reason = { since: mono(9_900), by: mono(129_000), atOnce: false, triedAt: undefined }
const decide = (given: Partial<Surroundings>, why: Partial<Reason> = {}) =>
  decideOwnHandOver({ ...surroundings, ...given }, { ...reason, ...why })

test('without the coordinator it begins at once, with at most a minute', () => {
  expect(decide({})).toEqual({ kind: 'hand-over', target: B, budget: 60_000 })
  expect(decide({}, { by: mono(20_000) })).toEqual({ kind: 'hand-over', target: B, budget: 9000 })
})

test('a coordinator that is there has a quarter of the time to order it, and a second at least', () => {
  const waits = { kind: 'wait', why: 'the coordinator may order it' }
  const since = mono(9000)
  expect(decide({ linked: true, now: mono(38_999) }, { since })).toMatchObject(waits)
  expect(decide({ linked: true, now: mono(39_000) }, { since })).toMatchObject({ kind: 'hand-over' })
  const soon = { since, by: mono(12_000) }
  expect(decide({ linked: true, now: mono(9_999) }, soon)).toMatchObject(waits)
  expect(decide({ linked: true, now: mono(10_000) }, soon)).toMatchObject({ kind: 'hand-over' })
  expect(decide({ linked: true }, { atOnce: true })).toMatchObject({ kind: 'hand-over' })
})

test('it is tried again after two seconds, as long as there is time', () => {
  expect(decide({}, { triedAt: mono(8001) })).toMatchObject({ kind: 'wait', why: 'it was tried just now' })
  expect(decide({}, { triedAt: mono(8000) })).toMatchObject({ kind: 'hand-over' })
  expect(decide({}, { by: mono(11_400) })).toMatchObject({ kind: 'wait', why: 'there is no time left' })
  expect(decide({}, { by: mono(9_000) })).toMatchObject({ kind: 'wait' })
})

test.each<[string, Partial<Surroundings>]>([
  ['no successor is designated', { successor: null }],
  ['the voter of i-bbbb is not connected', { peers: [] }],
  ['i-bbbb does not have the state yet', { attached: [instanceId('i-cccc')] }],
  ['it is released', { member: { ...surroundings.member, role: { kind: 'released' } } }],
  ['its workload is thawing', { member: { ...surroundings.member, workload: 'thawing' } }],
  ['it has no lease', { member: { ...surroundings.member, lease: { kind: 'none' } } }],
])('it waits when %s', (why, given) => {
  expect(decide(given)).toEqual({ kind: 'wait', why })
})
