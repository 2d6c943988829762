import { z } from 'zod'
import { AppError, messageOf } from './app-error.ts'

/**
 * One setting of a process. Its key is the name in the file (`api_port`); the flag is the key with dashes
 * (`--api-port`); `env` is spelled out, because the customer's names stay as they are.
 */
export interface Option<S extends z.ZodType = z.ZodType> {
  /** Accepts what a file holds and, when `env` or a flag is offered, also its spelling as a string. */
  readonly schema: S
  readonly env?: string
  /** An older name of the same variable; where both are set they have to agree. */
  readonly also?: string
  /** False for a setting that only a file can express. */
  readonly flag?: boolean
  /** One sentence for `--help` and docs/configuration.md, with the unit. */
  readonly doc: string
  /** How the value is written in help, such as `<seconds>`. */
  readonly value?: string
  /** Never printed, never in a flag; `<env>_FILE` names a file that holds it. */
  readonly secret?: true
}

export type OptionTable = Readonly<Record<string, Option>>
export type OptionValues<T extends OptionTable> = { readonly [K in keyof T]: z.infer<T[K]['schema']> }
export type Origin = 'flag' | 'environment' | 'file' | 'default'

export interface OptionSources {
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly file: Readonly<Record<string, unknown>>
  /** Reads the file that a `…_FILE` variable names. */
  readonly readSecret: (path: string) => string
}

/** Variables that start so are ours; one that no option knows is a mistake and is reported. */
const OWN_PREFIX = 'UNDERSTUDY_'

/**
 * Flags win over environment over file over default. Every problem is reported at once, each with its key, the value
 * and what is allowed.
 * @throws AppError `config_invalid`
 */
export function resolveOptions<T extends OptionTable>(
  table: T,
  sources: OptionSources,
): { values: OptionValues<T>; origins: Readonly<Record<keyof T, Origin>> } {
  const problems = [...unknownKeys(table, sources)]
  const values: Record<string, unknown> = {}
  const origins: Record<string, Origin> = {}
  for (const [key, option] of Object.entries(table)) {
    const found = lookUp(key, option, sources, problems)
    origins[key] = found?.origin ?? 'default'
    const parsed = option.schema.safeParse(found?.value)
    if (parsed.success) values[key] = parsed.data
    else for (const issue of parsed.error.issues) problems.push(describe(key, option, found, issue))
  }
  if (problems.length > 0) throw invalidConfig(problems)
  return {
    values: Object.freeze(values) as OptionValues<T>,
    origins: Object.freeze(origins) as Record<keyof T, Origin>,
  }
}

interface Found {
  value: unknown
  origin: Origin
  name: string
}
interface Problem {
  pointer: string
  message: string
}

function lookUp(
  key: string,
  option: Option,
  { flags, env, file, readSecret }: OptionSources,
  problems: Problem[],
): Found | undefined {
  if (flags[key] !== undefined) return { value: flags[key], origin: 'flag', name: flagOf(key) }
  const named = [option.env, option.also].flatMap((name) => {
    const value = name === undefined ? undefined : env[name]
    return name === undefined || value === undefined || value === '' ? [] : [{ name, value }]
  })
  const [first, second] = named
  if (first && second && first.value !== second.value)
    problems.push({
      pointer: `/${key}`,
      message: `${first.name} and ${second.name} are the same setting and do not agree: keep one of them`,
    })
  if (first) return { value: first.value, origin: 'environment', name: first.name }
  const secretFile = option.secret && option.env ? env[`${option.env}_FILE`] : undefined
  if (secretFile) {
    try {
      return { value: readSecret(secretFile).trim(), origin: 'environment', name: `${option.env}_FILE` }
    } catch {
      problems.push({
        pointer: `/${key}`,
        message: `${option.env}_FILE names ${secretFile}, which cannot be read`,
      })
    }
  }
  if (file[key] !== undefined) return { value: file[key], origin: 'file', name: key }
  return undefined
}

function describe(key: string, option: Option, found: Found | undefined, issue: z.core.$ZodIssue): Problem {
  const pointer = `/${[key, ...issue.path.map(String)].join('/')}`
  if (!found) {
    const where = [option.env, option.flag === false ? undefined : flagOf(key), `"${key}" in the file`]
    return { pointer, message: `${key} is missing: set ${where.filter(Boolean).join(', ')} (${option.doc})` }
  }
  const name = [found.name, ...issue.path.map(String)].join('.')
  // The keys are named in the message; the rest of what they stand among helps nobody.
  if (issue.code === 'unrecognized_keys') return { pointer, message: `${name}: ${issue.message}` }
  const shown = option.secret ? 'its value' : JSON.stringify(valueAt(found.value, issue.path))
  return { pointer, message: `${name} is ${shown ?? 'missing'}: ${issue.message}` }
}

const valueAt = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (at, key) =>
      typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined,
    value,
  )

function* unknownKeys(table: OptionTable, { flags, env, file }: OptionSources): Generator<Problem> {
  const keys = Object.keys(table)
  for (const key of Object.keys(file))
    if (!keys.includes(key))
      yield { pointer: `/${key}`, message: `unknown key "${key}"${suggest(key, keys)}` }
  for (const key of Object.keys(flags))
    if (!keys.includes(key))
      yield {
        pointer: `/${key}`,
        message: `unknown option ${flagOf(key)}${suggest(flagOf(key), keys.map(flagOf))}`,
      }
  const variables = Object.values(table).flatMap((option) =>
    option.env ? [option.env, `${option.env}_FILE`, ...(option.also ? [option.also] : [])] : [],
  )
  for (const name of Object.keys(env))
    if (name.startsWith(OWN_PREFIX) && !variables.includes(name))
      yield { pointer: `/${name}`, message: `unknown variable ${name}${suggest(name, variables)}` }
}

export const flagOf = (key: string): string => `--${key.replaceAll('_', '-')}`

export function invalidConfig(problems: readonly Problem[]): AppError {
  return new AppError('config_invalid', problems.map((problem) => problem.message).join('\n'), {
    errors: problems,
    hint: 'Correct the settings above; --help lists every one of them.',
  })
}

/** `, did you mean "x"?` when one candidate is close, else nothing. */
export function suggest(word: string, candidates: readonly string[]): string {
  const best = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance)[0]
  return best && best.distance <= Math.max(2, word.length / 4) ? `, did you mean "${best.candidate}"?` : ''
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** The flags of a table in the form that node:util's parseArgs takes; a flag without a value is a yes or no. */
export function flagsOf(table: OptionTable): Record<string, { type: 'string' | 'boolean' }> {
  const flags = Object.entries(table)
    .filter(([, option]) => option.flag !== false && !option.secret)
    .map(([key, option]) => [
      flagOf(key).slice(2),
      { type: option.value === undefined ? ('boolean' as const) : ('string' as const) },
    ])
  return Object.fromEntries(flags)
}

/** The error for flags that parseArgs did not take. */
export function badFlags(error: unknown, known: readonly string[], hint: string): AppError {
  const flags = known.map((name) => `--${name}`)
  const flag = /'(--[a-z-]+)/.exec(messageOf(error))?.[1]
  const near = flag && !flags.includes(flag) ? suggest(flag, flags) : ''
  return new AppError('input_invalid', near ? `unknown option ${flag}${near}` : messageOf(error), {
    hint,
    cause: error,
  })
}

/** Parsed flags under the keys of the table. */
export const keysOfFlags = (values: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name.replaceAll('-', '_'), value]))

/** The lines of `--help`, one option each, generated from the table. */
export function helpOf(table: OptionTable): string {
  const rows = Object.entries(table)
    .filter(([, option]) => option.flag !== false || option.env)
    .map(([key, option]) => ({
      left:
        option.flag === false || option.secret
          ? ''
          : `${flagOf(key)}${option.value ? ` ${option.value}` : ''}`,
      env: option.env ?? '',
      doc: `${option.doc}${defaultOf(option)}`,
    }))
  const width = (column: 'left' | 'env') => Math.max(...rows.map((row) => row[column].length))
  return rows
    .map((row) => `  ${row.left.padEnd(width('left'))}  ${row.env.padEnd(width('env'))}  ${row.doc}`)
    .join('\n')
}

/** One Markdown table row per option, for docs/configuration.md. */
export function docsOf(table: OptionTable): string {
  const rows = Object.entries(table).map(([key, option]) => {
    const flag = option.flag === false || option.secret ? '' : `\`${flagOf(key)}\``
    return `| \`${key}\` | ${envOf(option)} | ${flag} | ${option.doc}${defaultOf(option)} |`
  })
  return ['| file | environment | flag | meaning |', '|---|---|---|---|', ...rows].join('\n')
}

const envOf = ({ env, also }: Option): string =>
  [env, also].flatMap((name) => (name === undefined ? [] : [`\`${name}\``])).join(', ')

function defaultOf(option: Option): string {
  const parsed = option.schema.safeParse(undefined)
  if (!parsed.success) return ' (required)'
  if (parsed.data === undefined) return ''
  if (typeof parsed.data === 'object') return ''
  return ` (default ${String(parsed.data)})`
}

const fromText = (value: unknown): unknown => {
  if (typeof value !== 'string') return value
  const trimmed = value.trim()
  return trimmed === '' ? value : Number(trimmed)
}

/** A whole number in a range, also written as text. */
export const wholeNumber = (low: number, high: number) =>
  z.preprocess(
    fromText,
    z
      .int({ error: `must be a whole number from ${low} to ${high}` })
      .min(low)
      .max(high),
  )

/** A number in a range, also written as text. NaN and infinities are refused. */
export const number = (low: number, high: number) =>
  z.preprocess(
    fromText,
    z
      .number({ error: `must be a number from ${low} to ${high}` })
      .min(low)
      .max(high),
  )

/** true/false, 1/0, yes/no, also written as text. */
export const flag = () =>
  z.preprocess(
    (value) => {
      if (typeof value !== 'string') return value
      if (/^(true|1|yes|on)$/i.test(value)) return true
      if (/^(false|0|no|off)$/i.test(value)) return false
      return value
    },
    z.boolean({ error: 'must be true or false' }),
  )

/** How much is logged, in any case; `warning` is `warn`. */
export const logLevel = () =>
  z.preprocess(
    (value) => (typeof value === 'string' ? value.toLowerCase().replace('warning', 'warn') : value),
    z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  )
