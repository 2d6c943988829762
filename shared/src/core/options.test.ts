import { expect, test } from 'vitest'
import { z } from 'zod'
import { AppError } from './app-error.ts'
import {
  docsOf,
  flag,
  flagsOf,
  helpOf,
  number,
  type OptionTable,
  resolveOptions,
  wholeNumber,
} from './options.ts'

const table = {
  api_port: { schema: wholeNumber(1, 65_535).default(8000), env: 'API_PORT', value: '<port>', doc: 'Port' },
  lease: { schema: number(0.5, 120).default(3), env: 'UNDERSTUDY_LEASE', value: '<seconds>', doc: 'Lease' },
  auto: { schema: flag().default(true), env: 'AUTO', doc: 'Automatic' },
  url: { schema: z.url(), env: 'COORDINATOR_URL', value: '<url>', doc: 'Address' },
  join_token: { schema: z.string().optional(), env: 'JOIN_TOKEN', secret: true, doc: 'Token' },
} as const satisfies OptionTable

const resolve = (sources: {
  flags?: Record<string, unknown>
  env?: Record<string, string>
  file?: Record<string, unknown>
  secrets?: Record<string, string>
}) =>
  resolveOptions(table, {
    flags: sources.flags ?? {},
    env: { COORDINATOR_URL: 'http://c:1', ...sources.env },
    file: sources.file ?? {},
    readSecret: (path) => {
      const text = sources.secrets?.[path]
      if (text === undefined) throw new Error('ENOENT')
      return text
    },
  })

const problemOf = (run: () => unknown): AppError => {
  try {
    run()
  } catch (error) {
    if (error instanceof AppError) return error
    throw error
  }
  throw new Error('nothing was wrong')
}

test('a flag wins over the environment, the environment over the file, the file over the default', () => {
  expect(resolve({}).values.api_port).toBe(8000)
  expect(resolve({ file: { api_port: 1 } }).values.api_port).toBe(1)
  expect(resolve({ file: { api_port: 1 }, env: { API_PORT: '2' } }).values.api_port).toBe(2)
  const all = resolve({ file: { api_port: 1 }, env: { API_PORT: '2' }, flags: { api_port: '3' } })
  expect(all.values.api_port).toBe(3)
  expect(all.origins).toMatchObject({ api_port: 'flag', url: 'environment', lease: 'default' })
})

test('every problem is reported at once, with the name, the value and what is allowed', () => {
  const error = problemOf(() =>
    resolve({ env: { API_PORT: '0', UNDERSTUDY_LEASE: 'NaN', AUTO: 'perhaps' }, file: { leese: 2 } }),
  )
  expect(error.code).toBe('config_invalid')
  expect(error.message).toContain('unknown key "leese", did you mean "lease"?')
  expect(error.message).toContain('API_PORT is "0"')
  expect(error.message).toContain('UNDERSTUDY_LEASE is "NaN": must be a number from 0.5 to 120')
  expect(error.message).toContain('AUTO is "perhaps": must be true or false')
})

test('a missing setting says where it can be set', () => {
  const error = problemOf(() => resolve({ env: { COORDINATOR_URL: '' } }))
  expect(error.message).toBe('url is missing: set COORDINATOR_URL, --url, "url" in the file (Address)')
})

test('an unknown variable under our prefix is a mistake; others are none of our business', () => {
  expect(problemOf(() => resolve({ env: { UNDERSTUDY_LAESE: '3' } })).message).toContain(
    'unknown variable UNDERSTUDY_LAESE, did you mean "UNDERSTUDY_LEASE"?',
  )
  expect(() => resolve({ env: { PATH: '/bin' } })).not.toThrow()
})

test('a variable may have an older name; two values for it are a mistake', () => {
  const named = { port: { schema: wholeNumber(0, 9).default(8), env: 'PORT', also: 'OLD_PORT', doc: 'Port' } }
  const of = (env: Record<string, string>) =>
    resolveOptions(named, { flags: {}, file: {}, env, readSecret: () => '' }).values.port
  expect([of({}), of({ PORT: '1' }), of({ OLD_PORT: '2' }), of({ PORT: '3', OLD_PORT: '3' })]).toEqual([
    8, 1, 2, 3,
  ])
  expect(() => of({ PORT: '1', OLD_PORT: '2' })).toThrow('PORT and OLD_PORT are the same setting')
  expect(docsOf(named)).toContain('| `PORT`, `OLD_PORT` |')
})

test('a secret comes from a file, is never shown, and has no flag', () => {
  const { values } = resolve({ env: { JOIN_TOKEN_FILE: '/token' }, secrets: { '/token': 'geheim\n' } })
  expect(values.join_token).toBe('geheim')
  expect(problemOf(() => resolve({ env: { JOIN_TOKEN_FILE: '/none' } })).message).toBe(
    'JOIN_TOKEN_FILE names /none, which cannot be read',
  )
  expect(flagsOf(table)).not.toHaveProperty('join-token')
})

test('help, documentation and flags come from the table', () => {
  expect(helpOf(table)).toMatch(/--api-port <port>\s+API_PORT\s+Port \(default 8000\)/)
  expect(helpOf(table)).toMatch(/COORDINATOR_URL\s+Address \(required\)/)
  expect(docsOf(table)).toContain('| `lease` | `UNDERSTUDY_LEASE` | `--lease` | Lease (default 3) |')
  expect(flagsOf(table)).toEqual({
    'api-port': { type: 'string' },
    lease: { type: 'string' },
    auto: { type: 'boolean' },
    url: { type: 'string' },
  })
})

test('a mistake deep in a file is named by its place, without the rest of what stands there', () => {
  const nested = {
    workload: {
      schema: z.strictObject({ hooks: z.strictObject({ start: z.strictObject({ timeout: z.number() }) }) }),
      flag: false,
      doc: 'Workload',
    },
  } as const satisfies OptionTable
  const wrong = (workload: unknown) =>
    problemOf(() => resolveOptions(nested, { flags: {}, env: {}, file: { workload }, readSecret: String }))
      .message
  expect(wrong({ hooks: { start: { timeout: 'soon' } } })).toMatch(
    /^workload\.hooks\.start\.timeout is "soon": .*number/,
  )
  expect(wrong({ hooks: { start: { timeout: 1, retries: 2 } } })).toMatch(
    /^workload\.hooks\.start: .*"retries"$/,
  )
  expect(wrong({ hooks: {} })).toMatch(/^workload\.hooks\.start is missing: /)
})
