import { expect, test } from 'vitest'
import { toBatch, toProbabilities } from './probability.ts'
import { refusalOf } from './refusal.ts'
import { createSlowness } from './slowness.ts'
import { testModel } from './testing.ts'

const { manifest } = testModel()
const output = (kind: 'probability' | 'margin') => ({ ...manifest.output, kind })
const of = (values: number[]) => new Float64Array(values)

test('a margin goes through the logistic function; Platt and isotonic calibration through theirs', () => {
  const margins = toProbabilities({ output: output('margin') }, of([0, Math.log(3)]))
  expect(margins[0]).toBe(0.5)
  expect(margins[1]).toBeCloseTo(0.75, 12)
  const platt = { kind: 'platt', params: { a: -1, b: 0 } } as const
  expect(toProbabilities({ output: output('margin'), calibration: platt }, of([Math.log(3)]))[0]).toBeCloseTo(
    0.75,
    12,
  )
  const isotonic = { kind: 'isotonic' as const, params: { x: [0.2, 0.6], y: [0.1, 0.5] } }
  const calibrated = toProbabilities(
    { output: output('probability'), calibration: isotonic },
    of([0, 0.2, 0.4, 0.6, 1]),
  )
  for (const [i, p] of [0.1, 0.1, 0.3, 0.5, 0.5].entries()) expect(calibrated[i]).toBeCloseTo(p, 12)
})

test('a rounding error of float32 is none of the model; anything more is', () => {
  expect([...toProbabilities({ output: output('probability') }, of([1 + 5e-8, -5e-8]))]).toEqual([1, 0])
  const refused = (values: number[]) => {
    try {
      toProbabilities({ output: output('probability') }, of(values))
    } catch (error) {
      return refusalOf(error)
    }
    return undefined
  }
  expect(refused([0.5, 1.001])).toBe('OUTPUT_OUT_OF_RANGE')
  expect(refused([-0.001])).toBe('OUTPUT_OUT_OF_RANGE')
  expect(refused([0.5, Number.NaN])).toBe('OUTPUT_NOT_FINITE')
  expect(refused([Number.POSITIVE_INFINITY])).toBe('OUTPUT_NOT_FINITE')
})

test('only a nullable feature may be missing', () => {
  const features = manifest.input.features.map((feature, i) => ({ ...feature, nullable: i === 0 }))
  const input = { ...manifest.input, features }
  expect(toBatch({ input }, new Float32Array([Number.NaN, 1])).rows).toBe(1)
  expect(() => toBatch({ input }, new Float32Array([1, Number.NaN]))).toThrow('row 0 has NaN for b')
  expect(() => toBatch({ input }, new Float32Array([Number.POSITIVE_INFINITY, 1]))).toThrow('Infinity')
})

test('slow is a p99 of five times what was qualified, of enough batches, and never below 50 ms', () => {
  const slowness = createSlowness(20)
  for (let i = 0; i < 99; i += 1) expect(slowness.add(99, 500)).toBeUndefined()
  expect(slowness.add(101, 500)).toBeUndefined()
  expect(slowness.add(101, 500)).toContain('above 100 ms')
  const larger = createSlowness(20)
  for (let i = 0; i < 300; i += 1) expect(larger.add(900, 5000)).toBeUndefined()
  const fast = createSlowness(0.1)
  for (let i = 0; i < 300; i += 1) expect(fast.add(49, 500)).toBeUndefined()
})
