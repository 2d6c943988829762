import { describe, expect, it } from 'vitest'
import {
  asSentence,
  formatAge,
  formatBytes,
  formatDay,
  formatPool,
  formatPrice,
  formatShare,
  formatT,
  formatTook,
  formatUsd,
} from './format.ts'

describe('formatting', () => {
  it.each([
    [0, 'T+0 ms'],
    [9.1, 'T+9 ms'],
    [1880, 'T+1.88 s'],
    [-3018.4, 'T−3.02 s'],
    [-0.2, 'T+0 ms'],
  ])('shows the moment %f as %s', (millis, text) => expect(formatT(millis)).toBe(text))

  it.each([
    [0.4, '< 1 ms'],
    [0, '0 ms'],
    [6.3, '6 ms'],
    [215, '215 ms'],
    [3406, '3.41 s'],
  ])('shows the duration %f as %s', (millis, text) => expect(formatTook(millis)).toBe(text))

  it.each([
    [180, '0.2 s'],
    [9960, '10 s'],
    [41_200, '41 s'],
    [300_000, '5 min'],
    [7_300_000, '2 h'],
    [259_200_000, '3 d'],
  ])('shows the age %d as %s', (millis, text) => expect(formatAge(millis)).toBe(text))

  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [2698, '2.7 KB'],
    [999_600, '1.0 MB'],
    [212_000, '212 KB'],
    [64 * 2 ** 20, '67.1 MB'],
  ])('shows %d bytes as %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text))

  it.each([
    [0, '0%'],
    [0.00044, '0.04%'],
    [0.0123, '1.2%'],
    [0.384, '38%'],
    [-0.0512, '-5.1%'],
    [null, '–'],
  ])('shows the share %f as %s', (share, text) => expect(formatShare(share)).toBe(text))

  it.each([
    [1234.5, '$1,234.50'],
    [-0.125, '−$0.13'],
    [0, '$0.00'],
  ])('shows %f dollars as %s', (usd, text) => expect(formatUsd(usd)).toBe(text))

  it('shows what is not known as a dash', () => {
    expect(formatPrice(null)).toBe('–')
    expect(formatPool(null)).toBe('–')
  })

  it.each([
    ['the workload runs', 'The workload runs.'],
    ['i-demo001 has ended', 'i-demo001 has ended.'],
    ['web is late.', 'Web is late.'],
  ])('makes a sentence of "%s"', (clause, text) => expect(asSentence(clause)).toBe(text))

  it('shows times in UTC and says so', () => {
    expect(formatDay('2026-11-21T14:02:07.412+01:00')).toBe('2026-11-21 13:02:07 UTC')
  })
})
