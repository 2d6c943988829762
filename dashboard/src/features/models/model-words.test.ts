import type { ModelData } from '@understudy/shared/protocol/model-data'
import { describe, expect, it } from 'vitest'
import { dataSentence, trainedSentence } from './model-words.ts'

const data = (changes: Partial<ModelData>): ModelData => ({
  readiness: 'MISSING',
  trained_until: '2020-03-29',
  current_date: '2026-11-21',
  gap_days: 2428,
  required_from: '2020-03-22T00:00:00Z',
  unfillable: null,
  percent_covered: 3.456,
  pools: { required: 20, complete: 0, current: 18, without_history: 0 },
  task_id: null,
  ...changes,
})

describe('what is said of a model', () => {
  it('the gap since its training is counted in days', () => {
    expect(trainedSentence(data({}))).toBe('trained until 2020-03-29, 2,428 days before today')
    expect(trainedSentence(data({ gap_days: 0 }))).toBe('trained until 2020-03-29: up to today')
  })

  it('the prices that are there, and those that can never be', () => {
    expect(dataSentence(data({ unfillable: { from: '', to: '', days: 1 } }))).toBe(
      '3.5% of the prices since then are there; 18 of 20 pools have all of the last 7 days, which is what a prediction of today is made from; prices of 1 day are older than EC2 keeps and cannot be had any more.',
    )
    expect(dataSentence(data({ readiness: 'UNKNOWN' }))).toBe(
      'No pool is known for which there should be prices.',
    )
    expect(dataSentence(data({ percent_covered: 100 }))).toMatch(/^100% of the prices/)
  })
})
