import { expect, test } from 'vitest'
import type { ReplicaRow } from '../storage/database.ts'
import { sortActive } from './stored-replicas.ts'

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
