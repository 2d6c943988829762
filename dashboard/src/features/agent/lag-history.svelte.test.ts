import { instant } from '@understudy/shared/core/time'
import { expect, it } from 'vitest'
import { LagHistory } from './lag-history.svelte.ts'

it('the lag of a replica is noted once a second, and silence is a gap', () => {
  const history = new LagHistory()
  for (const [at, lag] of [
    [1000, 5],
    [1500, 6],
    [2000, null],
    [3100, 7],
    [60_000, 8],
  ] as const)
    history.note(instant(at), lag)
  expect(history.points.map(({ at, value }) => [at, value])).toEqual([
    [1000, 5],
    [2000, null],
    [3000, 7],
    [4000, null],
    [60_000, 8],
  ])
  for (let i = 0; i < 700; i += 1) history.note(instant(61_000 + i * 1000), i)
  expect(history.points).toHaveLength(600)
})
