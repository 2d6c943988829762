import type { DrillMove } from '@understudy/shared/protocol/drills'
import { expect, test } from 'vitest'
import { sampleAgent, sampleDrill, sampleReplica } from '../../testkit/samples.ts'
import { drillTarget, figuresSentence, moveDetails, moveSentence, whyNotDrill } from './drill-words.ts'

const move = (changes: Partial<DrillMove> = {}): DrillMove => ({
  ...(sampleDrill().moves[0] as DrillMove),
  ...changes,
})

test('the successor takes over, else who is least behind; never one that is not ready', () => {
  const behind = sampleReplica({ id: 'r1', instance_id: 'i-1', lag_ms: 5 })
  const least = sampleReplica({ id: 'r2', instance_id: 'i-2', lag_ms: 1 })
  const agent = (successor: string | null, replicas = [behind, least]) =>
    sampleAgent({ successor_id: successor, replicas })
  expect(drillTarget(agent('i-1'))?.id).toBe('r1')
  expect(drillTarget(agent('i-9'))?.id).toBe('r2')
  expect(drillTarget(agent('i-1', [{ ...behind, status: 'syncing' }, least]))?.id).toBe('r2')
  expect(drillTarget(agent(null, []))).toBeUndefined()
})

test('why no drill can begin is said; where one can, nothing is', () => {
  expect(whyNotDrill(sampleAgent(), undefined)).toBeUndefined()
  expect(whyNotDrill(sampleAgent(), [sampleDrill()])).toBeUndefined()
  expect(whyNotDrill(sampleAgent(), [sampleDrill({ ended_at: null })])).toBe('A drill is under way.')
  expect(whyNotDrill(sampleAgent({ state: 'draining', reason: 'it has a notice' }), [])).toContain(
    'it has a notice',
  )
  expect(whyNotDrill(sampleAgent({ replicas: [] }), [])).toContain('create one first')
})

test('a move is one sentence, and what is not known is not claimed', () => {
  expect(moveSentence(move())).toBe('Out: i-demo001 to i-demo006, up after 412 ms, nobody served for 180 ms.')
  expect(moveSentence(move({ no_primary_ms: null, detect_to_promoted_ms: null }))).toContain('is not known')
  expect(moveSentence(move({ outcome: 'running' }))).toContain('under way')
  expect(moveSentence(move({ outcome: 'failed', outcome_reason: 'it did not start' }))).toBe(
    'Out: i-demo001 to i-demo006, not moved: it did not start.',
  )
})

test('what it lacked, what is lost and what its health said come as far as they are known', () => {
  expect(moveDetails(move())).toEqual([
    '0 B behind when it began.',
    'Nothing lost: the replica confirmed every byte before the old primary gave up its epoch.',
    'Healthy after 12 ms.',
  ])
  expect(moveDetails(move({ bytes_behind: null, loss: null, health: null }))).toEqual([])
  const health = { ok: false, said: 'connection refused', took_ms: null }
  expect(moveDetails(move({ bytes_behind: null, loss: null, health }))).toEqual([
    'Not healthy: connection refused.',
  ])
})

test('earlier ones are counted, with their times where there are any', () => {
  const figures = { count: 3, failed: 1, last_at: null, detect_to_promoted_ms: null, no_primary_ms: null }
  expect(figuresSentence({ ...figures, count: 0 }, 'incident')).toBe('no incidents')
  expect(figuresSentence(figures, 'drill')).toBe('3 drills, 1 failed')
  expect(figuresSentence({ ...figures, no_primary_ms: { median: 190, worst: 240 } }, 'drill')).toBe(
    '3 drills, 1 failed; nobody served for 190 ms (median), 240 ms (worst)',
  )
})
