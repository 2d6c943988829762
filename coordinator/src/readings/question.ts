import { AppError } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
import type { WatchRequest } from '@understudy/shared/protocol/readings'
import { type ReadingKind, readingKinds } from './reading-kinds.ts'

/** One GET of the API, of whoever asks it. */
export interface Question {
  /** The same of two pages that ask the same. */
  readonly key: string
  readonly kind: ReadingKind
  pathAt(now: Instant): string
}

const HOUR = 3_600_000

/** @throws AppError `not_found` for a name that is none, `input_invalid` for what it does not take */
export function questionOf({ name, params = {}, query = {}, hours }: WatchRequest): Question {
  const kind = kindOf(name)
  const path = filled(kind.path, params, name)
  const foreign = Object.keys(query).find((key) => !kind.query.includes(key))
  if (foreign !== undefined)
    throw invalid(`/query/${foreign}`, `the reading ${name} takes ${wordsOf(kind.query, 'no query')}`)
  if ((hours === undefined) === (kind.span !== undefined))
    throw invalid('/hours', `the reading ${name} takes ${kind.span ? 'the hours up to now' : 'no hours'}`)
  const asked = new URLSearchParams(query)
  asked.sort()
  return {
    key: `${path}?${asked}#${hours ?? ''}`,
    kind,
    pathAt(now) {
      const whole = new URLSearchParams([...spanOf(kind, hours, now), ...asked])
      return whole.size === 0 ? path : `${path}?${whole}`
    },
  }
}

function kindOf(name: string): ReadingKind {
  if (isName(name)) return readingKinds[name]
  throw new AppError('not_found', `there is no reading ${name}`, {
    hint: `There are: ${Object.keys(readingKinds).sort().join(', ')}.`,
  })
}

const isName = (name: string): name is keyof typeof readingKinds => Object.hasOwn(readingKinds, name)

function filled(path: string, params: Readonly<Record<string, string>>, name: string): string {
  const wanted = [...path.matchAll(/\{(\w+)\}/g)].map(([, key]) => key ?? '')
  for (const key of new Set([...wanted, ...Object.keys(params)])) {
    if (!wanted.includes(key))
      throw invalid(`/params/${key}`, `the reading ${name} takes ${wordsOf(wanted, 'no params')}`)
    if (!isPathPart(params[key]))
      throw invalid(`/params/${key}`, `the reading ${name} needs ${key}, of one part of a path`)
  }
  return path.replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(params[key] ?? ''))
}

/** Dots would be another path. Half a character is none. */
const isPathPart = (part: string | undefined): boolean =>
  part !== undefined && part !== '' && part !== '.' && part !== '..' && part.isWellFormed()

function spanOf({ span }: ReadingKind, hours: number | undefined, now: Instant): [string, string][] {
  if (!span || hours === undefined) return []
  const steps = Math.floor(now / span.step) + (span.round === 'up' ? 1 : 0)
  const to = steps * span.step
  const iso = (at: number) => new Date(at).toISOString()
  return [
    ['from', iso(to - hours * HOUR)],
    ['to', iso(to)],
  ]
}

const wordsOf = (words: readonly string[], none: string): string => words.join(', ') || none

const invalid = (pointer: string, message: string): AppError =>
  new AppError('input_invalid', message, { errors: [{ pointer, message }] })
