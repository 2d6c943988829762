import { mono } from '@understudy/shared/core/time'
import { groupBench, P, R } from '@understudy/shared/testkit/group-bench'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { expect, test } from 'vitest'
import { heardBefore, lastHeard } from './last-heard.ts'

test('a primary that this process has never heard was last heard when the one before wrote it down', () => {
  const { certificate } = groupBench().settle().group
  const g = groupBench().restore({ certificate })
  g.pass(2000)
  const at = mono(-3000)
  expect(lastHeard(g.group, g.now, undefined)).toBe(0)
  expect(lastHeard(g.group, g.now, { instance: P, at })).toBe(-3000)
  // About another one it says nothing.
  expect(lastHeard(g.group, g.now, { instance: R, at })).toBe(0)
})

test('who was heard here was last heard here', () => {
  const { certificate } = groupBench().settle().group
  const g = groupBench().restore({ certificate })
  g.pass(500)
  g.connect(P, 'primary')
  g.pass(2000)
  expect(lastHeard(g.group, g.now, { instance: P, at: mono(-3000) })).toBe(500)
})

test('a time of the wall clock is one of ours, unless it is yet to come', () => {
  const { clock } = createVirtualTime(100_000)
  expect(heardBefore(P, 97_000, clock)).toEqual({ instance: P, at: -3000 })
  expect(heardBefore(P, 100_001, clock)).toBeUndefined()
  expect(heardBefore(P, null, clock)).toBeUndefined()
  expect(heardBefore(undefined, 97_000, clock)).toBeUndefined()
})
