import { expect, test } from 'vitest'
import type { InstanceRow } from '../storage/database.ts'
import { leftToEnd } from './left-to-end.ts'

const row = (id: string, more: Partial<InstanceRow> = {}) =>
  ({ id, agent_id: 'a', retired: 1, terminated_at: null, ...more }) as InstanceRow
const instances = [
  row('i-old'),
  row('i-older'),
  row('i-primary'),
  row('i-standby', { retired: 0 }),
  row('i-ended', { terminated_at: 5 }),
  row('i-other', { agent_id: 'b' }),
]
const agent = { id: 'a', instance_id: 'i-primary', terminate_after_switch: 1 }

const lastMove = (success: boolean | null) => ({ old_instance_id: 'i-old', success })

test('who was replaced for good and still runs is to be ended, and nobody else', () => {
  expect(leftToEnd(agent, instances, undefined)).toEqual(['i-old', 'i-older'])
  expect(leftToEnd(agent, instances, lastMove(true))).toEqual(['i-old', 'i-older'])
})

test('the old primary of a move that is open, or that has failed, may be needed yet', () => {
  expect(leftToEnd(agent, instances, lastMove(null))).toEqual(['i-older'])
  expect(leftToEnd(agent, instances, lastMove(false))).toEqual(['i-older'])
})

test('nobody is where the agent keeps its old instances', () => {
  expect(leftToEnd({ ...agent, terminate_after_switch: 0 }, instances, undefined)).toEqual([])
})
