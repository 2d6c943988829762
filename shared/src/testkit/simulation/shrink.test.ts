import { expect, test } from 'vitest'
import { optionsOf } from './aims.ts'
import { explain, shrink } from './shrink.ts'
import { runWorld } from './world.ts'

/** The first seed that fails when a stopped clock is not noticed. */
function failing() {
  for (let seed = 1; seed <= 500; seed += 1) {
    const options = optionsOf(seed, 'clock-stops')
    if (/ I2: /.test(runWorld(options).violations[0] ?? '')) return options
  }
  throw new Error('no schedule fails: there is nothing to shrink')
}

test('a failing schedule is shrunk to faults of which none can be left out', () => {
  const options = failing()
  const shrunk = shrink(options)
  if (!shrunk) throw new Error('it does not fail any more')
  const { faults, result } = shrunk
  expect(result.violations[0]).toMatch(/ I2: /)
  expect(faults.length).toBeGreaterThan(0)
  expect(faults.length).toBeLessThan(runWorld(options).faults.length)
  for (const fault of faults) {
    const rest = faults.filter((other) => other !== fault)
    expect(runWorld({ ...options, faults: rest }).violations[0] ?? '').not.toMatch(/ I2: /)
  }
})

test('what is printed names the seed, the violation, the faults that it takes, and ends with the trace', () => {
  const options = failing()
  const text = explain(options, 20)
  expect(text).toContain(`seed ${options.seed} at `)
  expect(text).toMatch(/It takes \d+ of \d+ faults:/)
  const needed = shrink(options)?.faults ?? []
  expect(needed).not.toEqual([])
  for (const { at, kind } of needed) expect(text).toMatch(new RegExp(`${Math.round(at)} ${kind} `))
  expect(text.split('\n').at(-1)).toMatch(/VIOLATION I2|\d+ /)
  expect(text.split('\n').length).toBeLessThan(60)
})

test('nothing is made of a schedule in which nothing is violated', () => {
  expect(shrink({ seed: 1, faults: [] })).toBeUndefined()
  expect(explain({ seed: 1, faults: [] })).toContain('nothing is violated')
})
