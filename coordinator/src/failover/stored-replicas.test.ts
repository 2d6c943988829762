import { expect, test } from 'vitest'
import type { InstanceRow, ReplicaRow } from '../storage/database.ts'
import { isStandbyMissing, sortActive } from './stored-replicas.ts'

const row = (id: string, instance: string | null, createdAt = 0) =>
  ({ id, instance_id: instance, created_at: createdAt }) as ReplicaRow
const idsOf = (rows: readonly ReplicaRow[]) => rows.map(({ id }) => id)

test('of two rows of one instance the newer one counts', () => {
  const { counting, superfluous } = sortActive([row('new', 'i-a', 2), row('old', 'i-a', 1)], 'i-p')
  expect(idsOf(counting)).toEqual(['new'])
  expect(idsOf(superfluous)).toEqual(['old'])
})

test('a row of the primary does not count', () => {
  const { counting, superfluous } = sortActive([row('a', 'i-a'), row('p', 'i-p')], 'i-p')
  expect(idsOf(counting)).toEqual(['a'])
  expect(idsOf(superfluous)).toEqual(['p'])
})

test('launches that have no instance yet all count, also before there is a primary', () => {
  const { counting, superfluous } = sortActive([row('x', null), row('y', null)], null)
  expect(idsOf(counting)).toEqual(['x', 'y'])
  expect(superfluous).toEqual([])
})

const agent = { id: 'a', instance_id: 'i-p', auto_replica_enabled: 1 }
const instance = (id: string, more: Partial<InstanceRow> = {}) =>
  ({ id, agent_id: 'a', retired: 0, terminated_at: null, ...more }) as InstanceRow
const last = (status: string) => ({ ...row('r', 'i-r'), status }) as ReplicaRow
const others = [
  instance('i-p'),
  instance('i-old', { retired: 1 }),
  instance('i-ended', { terminated_at: 5 }),
  instance('i-q', { agent_id: 'b' }),
]

test('a standby is missing where the last one took over or was lost, and nobody else is there', () => {
  expect(isStandbyMissing(agent, others, last('promoted'))).toBe(true)
  expect(isStandbyMissing(agent, others, last('failed'))).toBe(true)
  expect(isStandbyMissing(agent, [...others, instance('i-r')], last('promoted'))).toBe(false)
})

test('none is where it was deleted, where none was ever made, or where none is made by itself', () => {
  expect(isStandbyMissing(agent, others, last('terminated'))).toBe(false)
  expect(isStandbyMissing(agent, others, undefined)).toBe(false)
  expect(isStandbyMissing({ ...agent, auto_replica_enabled: 0 }, others, last('failed'))).toBe(false)
  expect(isStandbyMissing({ ...agent, instance_id: null }, others, last('failed'))).toBe(false)
})
