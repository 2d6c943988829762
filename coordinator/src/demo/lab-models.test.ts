import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { manifestSchema } from '@understudy/shared/protocol/model-manifest'
import { expect, test } from 'vitest'
import { variantsOf } from './lab-models.ts'
import { findLabModel } from './lab-story.ts'

const folder = findLabModel() ?? ''
const original = manifestSchema.parse(JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')))
const { cautious, twoLevel } = variantsOf(original)

test('the cautious variant says more than the original and keeps the order of its rows', () => {
  expect(cautious.sha256).toBe(original.sha256)
  const pairs = original.golden
    .map(({ y }, i) => [y, cautious.golden[i]?.y ?? 0] as const)
    .sort(([a], [b]) => a - b)
  for (const [before, after] of pairs) {
    expect(after).toBeGreaterThanOrEqual(before)
    expect(Math.abs(after - (2 * before) / (1 + before))).toBeLessThan(1e-3)
  }
  expect(pairs.map(([, after]) => after)).toEqual(pairs.map(([, after]) => after).sort((a, b) => a - b))
})

test('the variant with two levels says how often each came true where the original was measured', () => {
  const { base_rate: base, precision, recall, threshold } = original.train_metrics
  const levels = new Set(twoLevel.golden.map(({ y }) => y))
  expect(levels.size).toBe(2)
  const low = Math.min(...levels)
  expect(Math.max(...levels)).toBeCloseTo(precision, 12)
  // All events are in one of both levels.
  const flagged = (base * recall) / precision
  expect(flagged * precision + (1 - flagged) * low).toBeCloseTo(base, 12)
  for (const [i, { y }] of original.golden.entries())
    expect(twoLevel.golden[i]?.y).toBeCloseTo(y >= threshold ? precision : low, 12)
  expect(twoLevel.train_metrics.auc).toBeLessThan(original.train_metrics.auc)
})
