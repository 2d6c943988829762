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
const former = new Set(['i-old'])
const agent = { id: 'a', instance_id: 'i-primary', terminate_after_switch: 1 }

const lastMove = (success: boolean | null) => ({ old_instance_id: 'i-old', success })

test('who was replaced for good and still runs is to be ended, and nobody else', () => {
  expect(leftToEnd(agent, instances, undefined, former)).toEqual(['i-old', 'i-older'])
  expect(leftToEnd(agent, instances, lastMove(true), former)).toEqual(['i-old', 'i-older'])
})

test('the old primary of a move that is open, or that has failed, may be needed yet', () => {
  expect(leftToEnd(agent, instances, lastMove(null), former)).toEqual(['i-older'])
  expect(leftToEnd(agent, instances, lastMove(false), former)).toEqual(['i-older'])
})

test('where the agent keeps its old primaries, only what never was one is ended', () => {
  const keeps = { ...agent, terminate_after_switch: 0 }
  expect(leftToEnd(keeps, instances, undefined, former)).toEqual(['i-older'])
})
