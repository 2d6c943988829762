import { AppError } from '../core/app-error.ts'

/** From which age on, in hours, each age class begins; the last has no end. */
export const ageClasses = [0, 1, 3, 6, 12, 24] as const
const HOURS_OF_DAY = 24

/** How much more (above 1) or less often an instance of an age, or at an hour of the day (UTC), is interrupted than on average. */
export interface Multipliers {
  /** One for each of `ageClasses`. */
  readonly age: readonly number[]
  /** One for each hour of the day, 0 to 23. */
  readonly hour: readonly number[]
}

export const noMultipliers: Multipliers = {
  age: ageClasses.map(() => 1),
  hour: Array.from({ length: HOURS_OF_DAY }, () => 1),
}

/** One class: what was seen in it, and what the pools' rates would have had there. */
export interface Cell {
  readonly seen: number
  readonly expected: number
}

/** As many expected interruptions in a class make it believed half. */
const HALF_BELIEVED = 10

/**
 * `(c + seen) / (c + expected)` with c = 10, where `expected` is scaled so that all classes together expect what they have seen: a
 * class differs from the average, never the average itself. A class of which nothing is known has 1. It is the gamma-Poisson mean
 * of a factor whose prior is a gamma distribution of shape c around 1.
 * @throws AppError `input_invalid` for a cell that is not a number of things
 */
export function learnMultipliers(cells: readonly Cell[]): readonly number[] {
  for (const { seen, expected } of cells)
    if (!(Number.isFinite(seen) && Number.isFinite(expected) && seen >= 0 && expected >= 0))
      throw new AppError('input_invalid', `a class cannot have ${seen} interruptions of ${expected} expected`)
  const seen = cells.reduce((sum, cell) => sum + cell.seen, 0)
  const expected = cells.reduce((sum, cell) => sum + cell.expected, 0)
  const scale = expected > 0 ? seen / expected : 0
  if (scale === 0) return cells.map(() => 1)
  return cells.map((cell) => (HALF_BELIEVED + cell.seen) / (HALF_BELIEVED + cell.expected * scale))
}

export function ageClassOf(ageHours: number): number {
  const after = ageClasses.findIndex((from) => from > ageHours)
  return after === -1 ? ageClasses.length - 1 : Math.max(0, after - 1)
}

/** A time in which an instance ran, and whether it was interrupted at its end. */
export interface Life {
  /** Interruptions per hour that its pool is taken to have. */
  readonly rate: number
  /** The hour of the day (UTC, with its fraction) at its beginning. */
  readonly begins: number
  /** Of the instance at the beginning. */
  readonly ageHours: number
  readonly hours: number
  readonly interrupted: boolean
}

/** Multipliers of age and hour of day from what instances have lived through. */
export function multipliersFrom(lives: readonly Life[]): Multipliers {
  const age = ageClasses.map(() => ({ seen: 0, expected: 0 }))
  const hour = Array.from({ length: HOURS_OF_DAY }, () => ({ seen: 0, expected: 0 }))
  for (const { rate, begins, ageHours, hours, interrupted } of lives) {
    for (const [i, spent] of hoursByAge(ageHours, hours).entries())
      (age[i] as (typeof age)[number]).expected += spent * rate
    for (const [i, spent] of hoursByHour(begins, hours).entries())
      (hour[i] as (typeof hour)[number]).expected += spent * rate
    if (!interrupted) continue
    const { age: lastAge, hour: lastHour } = lastMoment(begins, ageHours, hours)
    ;(age[lastAge] as (typeof age)[number]).seen += 1
    ;(hour[lastHour] as (typeof hour)[number]).seen += 1
  }
  return { age: learnMultipliers(age), hour: learnMultipliers(hour) }
}

/** So that what ends on the border of two classes belongs to the one that it was in. */
const A_MOMENT = 1e-9

function lastMoment(begins: number, ageHours: number, hours: number): { age: number; hour: number } {
  const before = Math.max(0, hours - A_MOMENT)
  return { age: ageClassOf(ageHours + before), hour: Math.floor(begins + before) % HOURS_OF_DAY }
}

/** How long it was in each class of age. */
function hoursByAge(ageHours: number, hours: number): number[] {
  const to = ageHours + hours
  return ageClasses.map((from, i) => {
    const next = ageClasses[i + 1] ?? Number.POSITIVE_INFINITY
    return Math.max(0, Math.min(to, next) - Math.max(ageHours, from))
  })
}

/** How long it was in each hour of the day. */
function hoursByHour(begins: number, hours: number): number[] {
  const days = Math.floor(hours / HOURS_OF_DAY)
  const spent = Array.from({ length: HOURS_OF_DAY }, () => days)
  for (const { hour, hours: length } of stretchesOf(begins, null, hours - days * HOURS_OF_DAY))
    spent[hour] = (spent[hour] as number) + length
  return spent
}

/** A stretch of time in one age class and one hour of the day. */
export interface Stretch {
  readonly age: number
  readonly hour: number
  readonly hours: number
}

/**
 * Cuts a time into stretches of one age class and one hour of the day.
 * @param begins what the hour of the day (UTC, with its fraction) is at the beginning
 * @param ageHours the age then; null: not known, so every stretch is of class -1
 */
export function stretchesOf(begins: number, ageHours: number | null, hours: number): readonly Stretch[] {
  const stretches: Stretch[] = []
  let done = 0
  while (hours - done > 1e-9) {
    const at = begins + done
    const age = ageHours === null ? -1 : ageClassOf(ageHours + done + 1e-9)
    const nextAge = ageHours === null ? undefined : ageClasses[age + 1]
    const toHour = Math.floor(at + 1e-9) + 1 - at
    const toAge = nextAge === undefined ? toHour : nextAge - ((ageHours as number) + done)
    const length = Math.min(hours - done, toHour, toAge)
    stretches.push({ age, hour: Math.floor(at + 1e-9) % HOURS_OF_DAY, hours: length })
    done += length
  }
  return stretches
}

/** The mean multiplier over some stretches; for an instance of unknown age only the hour counts. */
export function meanMultiplier({ age, hour }: Multipliers, stretches: readonly Stretch[]): number {
  const total = stretches.reduce((sum, { hours }) => sum + hours, 0)
  const weighted = stretches.reduce(
    (sum, each) => sum + (age[each.age] ?? 1) * (hour[each.hour] ?? 1) * each.hours,
    0,
  )
  return total === 0 ? 1 : weighted / total
}
