import { describe, expect, it } from 'vitest'
import { refused } from '../../testkit/answers.ts'
import {
  activeMark,
  agreementWords,
  configWords,
  enabledMark,
  outputSentence,
  placeOf,
  selectedSentence,
  settable,
  wrongPlaces,
} from './engine-words.ts'

describe('an engine', () => {
  it('is marked by whether it counts, and whether it decides by itself', () => {
    expect([activeMark({ active: true }).word, activeMark({ active: false }).word]).toEqual([
      'Counts',
      'Not selected',
    ])
    expect([enabledMark({ enabled: true }).tone, enabledMark({ enabled: false }).tone]).toEqual([
      'healthy',
      'standby',
    ])
  })

  it('claims no agreement that nobody measures', () => {
    expect(agreementWords(null)).toBe('– nothing measures it')
    expect(agreementWords(0.975)).toBe('98% came to the same')
  })

  it('says how it is set, null included', () => {
    expect(configWords({})).toBe('nothing set: as usual')
    expect(configWords({ ranking: 'seed-v1', patience: null })).toBe('ranking: "seed-v1", patience: null')
    const set = { decision: 'spot-optimize', changed: true, dry_run: false, revision: 2 }
    const [before, after] = [{}, { min_gain: 0.01 }].map((config) => ({
      engine_id: 'spot_optimizer_v1',
      config,
    }))
    expect(
      selectedSentence({ ...set, before: before as never, after: after as never }, 'Spot optimizer'),
    ).toBe('Spot optimizer decides from the next decision on, min_gain: 0.01.')
  })
})

it('what can be set is what the schema of its configuration has', () => {
  const properties = { min_gain: { type: 'number', description: 'at least this' }, other: {} }
  expect(settable({ properties })).toEqual([
    { name: 'min_gain', description: 'at least this' },
    { name: 'other', description: 'other' },
  ])
  expect(settable({})).toEqual([])
})

describe('an output', () => {
  it('is told in words where it has some', () => {
    const output = { decision: 'SWITCH', code: 'CHEAPER', reason: 'it saves $0.01 an hour', ranked: [] }
    expect(outputSentence(output)).toBe('SWITCH (CHEAPER): It saves $0.01 an hour.')
    expect(outputSentence({ actions: [] })).toBeUndefined()
    expect(outputSentence(undefined)).toBeUndefined()
  })
})

describe('what is wrong', () => {
  it.each([
    ['/input/offers/0/spot_price', 'offers[0].spot_price'],
    ['/input/now', 'now'],
    ['/input', ''],
    ['/input/offers/12', 'offers[12]'],
  ])('%s is at "%s"', (pointer, place) => expect(placeOf(pointer, '/input')).toBe(place))

  it('is shown in the part of the body that it is in', () => {
    const errors = [
      { pointer: '/input/now', message: 'a' },
      { pointer: '/config/ranking', message: 'b' },
      { pointer: '/inputs', message: 'c' },
    ]
    const failure = refused('no', { errors })
    expect(wrongPlaces(failure, '/input')).toEqual([{ place: 'now', message: 'a' }])
    expect(wrongPlaces(failure, '/config')).toEqual([{ place: 'ranking', message: 'b' }])
    expect(wrongPlaces(refused('no'), '/input')).toEqual([])
    expect(wrongPlaces(undefined, '/input')).toEqual([])
  })
})
