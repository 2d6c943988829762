import { registerExperimentRequestSchema } from '@understudy/shared/protocol/experiments'
import { describe, expect, it } from 'vitest'
import {
  type Draft,
  emptyDraft,
  problemsOf,
  toRequest,
  unitsIn,
  withArms,
  withKind,
} from './experiment-draft.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')

const draft = (changes: Partial<Draft> = {}): Draft => ({
  ...emptyDraft,
  hypothesis: 'doubled odds have the smaller loss',
  arms: [
    { name: 'control', model: 'model-001', share: 50 },
    { name: 'treatment', model: 'model-002', share: 50 },
  ],
  ...changes,
})
const ab = (changes: Partial<Draft> = {}): Draft => ({
  ...withKind(draft(), 'ab'),
  targets: ['agent-1', 'agent-2'],
  ...changes,
})

describe('an experiment that is filled in', () => {
  it.each([
    ['shadow', draft()],
    ['A/B', ab()],
    ['A/B of pools', ab({ unit: 'pool_day', metric: 'cost_per_useful_hour' })],
    ['with a start', draft({ startsAt: '2026-11-22T08:00' })],
    ['of three arms', withArms(draft(), [...draft().arms, { name: 'third', model: 'model-003' }])],
  ])('is a request that the coordinator takes: %s', (_, filled) => {
    expect(problemsOf(filled, NOW)).toEqual([])
    const request = toRequest(filled)
    expect(registerExperimentRequestSchema.parse(request)).toEqual(request)
    expect(request.arms.reduce((sum, { weight }) => sum + weight, 0)).toBe(10_000)
  })

  it('begins with what the coordinator takes where nothing is said', () => {
    const { hypothesis, arms } = toRequest(draft())
    expect(registerExperimentRequestSchema.parse({ hypothesis, arms, unit: 'row' })).toEqual(
      toRequest(draft()),
    )
  })

  it.each<[string, Draft]>([
    ['Say what you expect', draft({ hypothesis: '  short  ' })],
    [
      'Choose a version for treatment',
      draft({
        arms: withArms(emptyDraft, [
          { name: 'control', model: 'a' },
          { name: 'treatment', model: '' },
        ]).arms,
      }),
    ],
    ['the same version', draft({ arms: draft().arms.map((arm) => ({ ...arm, model: 'model-001' })) })],
    ['the same name', draft({ arms: draft().arms.map((arm) => ({ ...arm, name: 'one' })) })],
    [
      '1 to 32 small letters',
      draft({ arms: draft().arms.map((arm) => ({ ...arm, name: `${arm.name} X` })) }),
    ],
    ['add up to 100 %', draft({ arms: draft().arms.map((arm) => ({ ...arm, share: 40 })) })],
    ['add up to 100 %', draft({ arms: draft().arms.map((arm) => ({ ...arm, share: Number.NaN })) })],
    ['two targets or more', ab({ targets: ['agent-1'], others: ' agent-1, ' })],
    ['200 targets at most', ab({ others: Array.from({ length: 200 }, (_, i) => `i-${i}`).join(' ') })],
    ['Alpha is from 0.001 to 0.2', draft({ alpha: 0.5 })],
    ['The planned number is a whole number', draft({ planned: 30.5 })],
    ['The margin is from', draft({ margin: Number.NaN })],
    ['and above 0', draft({ minDays: 0 })],
    ['shorter than the shortest', draft({ minDays: 30, maxDays: 20 })],
    ['a date and a time', draft({ startsAt: 'soon' })],
    ['in the past', draft({ startsAt: '2026-11-21T11:59' })],
    ['does not go with this kind', { ...ab(), metric: 'brier' }],
  ])('says “%s”', (sentence, filled) => {
    expect(problemsOf(filled, NOW)).toEqual([expect.stringContaining(sentence)])
  })

  it('names each target once, and none in the shadow', () => {
    expect(unitsIn(ab({ others: 'i-1, agent-2\ni-1' }))).toEqual(['agent-1', 'agent-2', 'i-1'])
    expect(unitsIn({ ...ab(), kind: 'shadow' })).toEqual([])
  })
})
