import { expect, test } from 'vitest'
import { judgeWindow, ofBoth, qualityLevel } from './drift.ts'
import { lossDrift } from './loss-drift.ts'

const reference = { edges: [0, 1, 2, 3, 4], counts: [2500, 2500, 2500, 2500], null_count: 0 }
const counts = (shares: readonly number[], rows: number) => [0, 0, ...shares.map((share) => share * rows), 0]

test('a feature that has moved is named, its neighbours are not', () => {
  const same = counts([0.25, 0.25, 0.25, 0.25], 288_000)
  const moved = counts([0.1, 0.2, 0.3, 0.4], 288_000)
  const slightly = counts([0.24, 0.25, 0.26, 0.25], 288_000)
  const judged = judgeWindow(
    [same, moved, slightly].map((given, i) => ({ subject: `f${i}`, reference, counts: given })),
    2000,
  )
  expect(judged.map(({ level }) => level)).toEqual(['ok', 'warn', 'ok'])
  expect(judged[1]?.psi).toBeCloseTo(0.228, 2)
  const hidden = [200_000, 0, 22_000, 22_000, 22_000, 22_000, 0]
  expect(judgeWindow([{ subject: 'f', reference, counts: hidden }], 2000)[0]).toMatchObject({
    level: 'alert',
  })
})

test('the same shares of few independent rows say nothing', () => {
  const moved = counts([0.1, 0.2, 0.3, 0.4], 288_000)
  expect(judgeWindow([{ subject: 'f', reference, counts: moved }], 20)[0]).toMatchObject({ level: 'ok' })
})

test('two windows in succession count as the better of both', () => {
  expect(ofBoth('alert', 'warn')).toBe('warn')
  expect(ofBoth('alert', undefined)).toBe('ok')
  expect(ofBoth('warn', 'alert')).toBe('warn')
  expect(ofBoth('alert', 'alert')).toBe('alert')
})

test('the quality of data has limits of its own', () => {
  expect(qualityLevel('missing', 0.05)).toBe('ok')
  expect(qualityLevel('out_of_range', 0.02)).toBe('warn')
  expect(qualityLevel('stale', 0.6)).toBe('alert')
  expect(qualityLevel('unseen_family', 1)).toBe('warn')
})

const blocks = (briers: readonly number[]) =>
  briers.flatMap((brier, i) =>
    Array.from({ length: 10 }, (_, g) => ({
      at: i,
      group: `g${g}`,
      brier: brier + (g % 2 === 0 ? 0.001 : -0.001),
    })),
  )
const days = (n: number, brier: number) => new Array<number>(n).fill(brier)

test('a loss that stays the same is no drift; one that rises is, as long as it stays up', () => {
  expect(lossDrift([])).toMatchObject({ level: 'ok', since: null })
  expect(lossDrift(blocks(days(100, 0.02)))).toMatchObject({ level: 'ok', since: null })
  const risen = lossDrift(blocks([...days(60, 0.02), ...days(40, 0.3)]))
  expect(risen).toMatchObject({ level: 'alert' })
  expect(risen.before).toBeCloseTo(0.02, 2)
  expect(risen.after).toBeGreaterThan(0.2)
  expect(risen.since).toBeLessThan(75)
  const back = lossDrift(blocks([...days(60, 0.02), ...days(30, 0.3), ...days(2, 0.01)]))
  expect(back.level).not.toBe('alert')
})

test('a loss that falls is an improvement', () => {
  expect(lossDrift(blocks([...days(60, 0.3), ...days(40, 0.02)]))).toMatchObject({ level: 'improved' })
})
