import { describe, expect, it } from 'vitest'
import type { ChartSeries } from './chart-data.ts'
import { nearest, type Place, step } from './walk.ts'

const series = (id: string, ...values: [number, number | null][]): ChartSeries => ({
  id,
  name: id,
  points: values.map(([at, value]) => ({
    at,
    value,
    kind: value === null ? null : 'history',
    confidence: value === null ? null : 1,
  })),
})
const all = [series('a', [0, 1], [10, 2], [20, null]), series('b', [10, 5])]

describe('walking a chart', () => {
  it.each<[string, Place, Place]>([
    ['ArrowRight', { series: 0, point: 0 }, { series: 0, point: 1 }],
    ['ArrowRight', { series: 0, point: 2 }, { series: 0, point: 2 }],
    ['ArrowLeft', { series: 0, point: 0 }, { series: 0, point: 0 }],
    ['End', { series: 0, point: 0 }, { series: 0, point: 2 }],
    ['Home', { series: 0, point: 2 }, { series: 0, point: 0 }],
    ['ArrowDown', { series: 0, point: 2 }, { series: 1, point: 0 }],
    ['ArrowUp', { series: 1, point: 0 }, { series: 0, point: 1 }],
    ['ArrowUp', { series: 0, point: 1 }, { series: 0, point: 1 }],
    ['PageDown', { series: 0, point: 0 }, { series: 0, point: 2 }],
  ])('%s from %j leads to %j', (key, from, to) => expect(step(all, from, key)).toEqual(to))

  it('leaves other keys alone', () => expect(step(all, { series: 0, point: 0 }, 'Tab')).toBeUndefined())

  it('finds what is nearest, and a gap only where nothing else is', () => {
    expect(nearest(all, 12, 4)).toEqual({ series: 1, point: 0 })
    expect(nearest(all, 12, 2.1)).toEqual({ series: 0, point: 1 })
    expect(nearest(all.slice(0, 1), 25, 2)).toEqual({ series: 0, point: 2 })
    expect(nearest(all, -5, 2)).toBeUndefined()
  })
})
