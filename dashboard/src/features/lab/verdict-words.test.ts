import { describe, expect, it } from 'vitest'
import { differenceSentence, rangeOf, verdictMark } from './verdict-words.ts'

const treatment = {
  arm: 'treatment',
  difference: null,
  events: null,
  costs: null,
  blocks: 0,
  rows: 0,
  positives: 0,
  excluded_fallback: 0,
  excluded_gap_filled: 0,
  missed: null,
}

describe('results of an experiment', () => {
  it('name no number without its interval', () => {
    expect(
      differenceSentence({ ...treatment, difference: { n: 40, mean: 0.01234, lower: -0.002, upper: null } }),
    ).toBe('0.0123 (95% interval -0.00200 to unbounded, 40 blocks); above 0 it is better than control')
    expect(
      differenceSentence({ ...treatment, difference: { n: 0, mean: 0, lower: null, upper: null } }),
    ).toBe('no blocks yet')
    expect(
      differenceSentence({
        ...treatment,
        events: { control: 8, treatment: 3, e_value: 2, ratio: 0.375, lower: 0.1, upper: 1.4 },
      }),
    ).toBe('3 events against 8 of control; ratio 0.38 (0.10 to 1.40)')
    expect(differenceSentence(treatment)).toBe('nothing is measured yet')
  })

  it('say when there is too little', () => {
    expect(verdictMark('INSUFFICIENT').word).toBe('Not enough data to compare')
    expect(rangeOf(0, null)).toBe('–')
    expect(rangeOf(0.4, { lower: 0.12, upper: 0.77 })).toBe('40% (12% to 77%)')
  })
})
