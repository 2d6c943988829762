import { expect, test } from 'vitest'
import type { IncidentStepRow } from '../storage/database.ts'
import { readHandOver } from './hand-over-steps.ts'

const stepsOf = (...names: readonly string[]) =>
  names.map((step, at) => ({ step, t_ms: at, ok: 1, reported_by: 'i-old' }) as IncidentStepRow)
const read = (...names: readonly string[]) => {
  const { frozen, ...rest } = readHandOver(stepsOf(...names), 'i-old')
  return { ...rest, frozenAt: frozen?.t_ms }
}

test('a workload that was frozen and confirmed stands still until it goes on', () => {
  expect(read()).toEqual({ frozenAt: undefined, sealed: false, wroteOn: false })
  expect(read('workload-frozen')).toEqual({ frozenAt: 0, sealed: false, wroteOn: false })
  expect(read('workload-frozen', 'final-sync')).toEqual({ frozenAt: 0, sealed: true, wroteOn: false })
  expect(read('workload-frozen', 'final-sync', 'workload-thawed')).toEqual({
    frozenAt: undefined,
    sealed: true,
    wroteOn: true,
  })
})

test('of several tries the last one counts', () => {
  const first = ['workload-frozen', 'final-sync', 'workload-thawed'] as const
  expect(read(...first, 'workload-frozen')).toEqual({ frozenAt: 3, sealed: true, wroteOn: true })
  expect(read(...first, 'workload-frozen', 'final-sync')).toEqual({
    frozenAt: 3,
    sealed: true,
    wroteOn: false,
  })
})

test('what failed was not done, and what others did is not about the old primary', () => {
  const [frozen] = stepsOf('workload-frozen') as [IncidentStepRow]
  expect(readHandOver([{ ...frozen, ok: 0 }], 'i-old').frozen).toBeUndefined()
  expect(readHandOver([frozen], 'i-other').frozen).toBeUndefined()
})
