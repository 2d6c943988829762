import { defaultInstanceConfig, type InstanceConfig } from '@understudy/shared/pipeline/instance-config'
import { expect, test } from 'vitest'
import { degraded } from './performance.ts'
import { pipelineStatus } from './pipeline-status.ts'

const config = (change: Partial<InstanceConfig> = {}): InstanceConfig => ({
  ...defaultInstanceConfig('i-1'),
  ...change,
})
const answers = { assigned: 'model-002', answeredBy: 'model-abc', why: null }

test('the Lab passes over packing and right-sizing, never over the gate or the signals', () => {
  const { stages, steps } = pipelineStatus(config({ pipelineMode: 'SINGLE_LINEAR' }), answers)
  const off = stages.filter(({ status }) => status === 'disabled').map(({ stage }) => stage)
  expect(off).toEqual(['right_sizing', 'bin_packing'])
  expect(steps.map(({ name }) => name)).toEqual(['Scraper', 'Safe Filter', 'ML Inference', 'Decision'])
  const inSteps = steps.flatMap((step) => step.stages)
  expect(inSteps).toEqual(expect.arrayContaining(['safety_gate', 'signal_override']))
  expect([...inSteps, ...off].sort()).toEqual(stages.map(({ stage }) => stage).sort())
})

test('in the whole pipeline everything is on but what is switched off', () => {
  const all = pipelineStatus(config(), answers)
  expect(all.stages.every(({ status }) => status === 'active')).toBe(true)
  const some = pipelineStatus(config({ binPacking: false, familyStress: false, level: 'none' }), answers)
  const off = some.stages.filter(({ status }) => status === 'disabled').map(({ stage }) => stage)
  expect(off).toEqual(['risk', 'bin_packing', 'actuator'])
  expect(some.ml_inference).toMatchObject({ status: 'disabled', answered_by: null })
})

test('a fallback is seen: who answers, and why not the one that was assigned', () => {
  const inference = { ...answers, answeredBy: 'model-def', why: 'its process is not ready' }
  expect(pipelineStatus(config(), inference).ml_inference).toEqual({
    status: 'fallback',
    model_id: 'model-002',
    answered_by: 'model-def',
    description: 'model-def answers instead: its process is not ready',
  })
  const nobody = pipelineStatus(config(), { assigned: null, answeredBy: null, why: 'no model is active' })
  expect(nobody.ml_inference).toMatchObject({ status: 'fallback', model_id: null })
  expect(nobody.stages.find(({ stage }) => stage === 'risk')).toEqual({
    stage: 'risk',
    status: 'disabled',
    description: 'The Spot Advisor alone: no model is active',
  })
})

test('where the account is not for experiments it is said that the Lab never acts', () => {
  const of = (change: Partial<InstanceConfig>) => pipelineStatus(config(change), answers).actuator.description
  expect(of({ pipelineMode: 'SINGLE_LINEAR' })).toContain('PRODUCTION')
  expect(of({ pipelineMode: 'SINGLE_LINEAR', accountEnvironment: 'LAB_INTERNAL', level: 'live' })).toBe(
    'Decisions are carried out',
  )
})

test('a version that is often replaced by another is degraded, and one that is in quarantine', () => {
  const fine = { state: 'LAB', state_reason: null }
  expect(degraded(fine, { asked: 100, fallbacks: 10 })).toEqual([])
  expect(degraded(fine, { asked: 9, fallbacks: 9 })).toEqual([])
  expect(degraded(fine, { asked: 100, fallbacks: 11 })).toMatchObject([{ code: 'FALLBACKS' }])
  expect(degraded({ state: 'QUARANTINED', state_reason: 'NaN' }, { asked: 0, fallbacks: 0 })).toEqual([
    { code: 'QUARANTINED', reason: 'NaN' },
  ])
})
