import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

type Rgb = readonly [number, number, number]

const css = readFileSync(join(import.meta.dirname, 'tokens.css'), 'utf8')
const themes = ['light', 'dark'] as const
const states = ['healthy', 'standby', 'at-risk', 'draining', 'failed', 'unknown']
const surfaces = ['bg', 'surface', 'sunken']

function colour(name: string, theme: (typeof themes)[number]): Rgb {
  const pair = new RegExp(`--${name}: light-dark\\((#\\w{6}), (#\\w{6})\\)`).exec(css)
  const hex = pair?.[theme === 'light' ? 1 : 2]
  if (!hex) throw new Error(`no colour ${name}`)
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255) as unknown as Rgb
}

const linear = (part: number): number => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)

function contrast(a: Rgb, b: Rgb): number {
  const [high, low] = [a, b]
    .map((rgb) => rgb.map(linear))
    .map(([r = 0, g = 0, b = 0]) => 0.2126 * r + 0.7152 * g + 0.0722 * b)
    .sort((x, y) => y - x) as [number, number]
  return (high + 0.05) / (low + 0.05)
}

const worst = (name: string, theme: (typeof themes)[number], on: readonly string[]): number =>
  Math.min(...on.map((surface) => contrast(colour(name, theme), colour(surface, theme))))

describe.each(themes)('the %s theme', (theme) => {
  it.each(['text', 'muted', 'accent', ...states.map((state) => `${state}-text`)])(
    '%s can be read on every surface',
    (name) => expect(worst(name, theme, surfaces)).toBeGreaterThanOrEqual(4.5),
  )

  it.each(['ctrl', ...states.map((state) => `${state}-mark`)])('%s can be seen on every surface', (name) =>
    expect(worst(name, theme, surfaces)).toBeGreaterThanOrEqual(3),
  )

  it.each([1, 2, 3, 4, 5, 6])('line %i of a chart can be seen on a panel', (line) =>
    expect(worst(`series-${line}`, theme, ['surface'])).toBeGreaterThanOrEqual(3),
  )

  it('a strong button can be read', () =>
    expect(worst('on-accent', theme, ['accent'])).toBeGreaterThanOrEqual(4.5))

  it('text can be read over the time without a primary', () =>
    expect(worst('text', theme, ['band'])).toBeGreaterThanOrEqual(4.5))
})
