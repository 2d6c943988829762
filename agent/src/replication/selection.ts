import { AppError } from '@understudy/shared/core/app-error'
import picomatch from 'picomatch'

/** Which names below the state directories are replicated, and which of them go first. */
export interface Selection {
  /** `path` is latin1 for bytes, relative to its state directory; the directory itself is `''` and always in. */
  selects(path: string, kind: 'dir' | 'file' | 'symlink'): boolean
  /** It, or a directory that it lies in, matches a priority pattern. */
  isPriority(path: string): boolean
}

/** Lists of patterns as they stand in `workload` of the agent's file: UTF-8 text, relative to each state directory. */
export interface SelectionPatterns {
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly priority: readonly string[]
}

const MAX_PATTERN_BYTES = 1024

/**
 * A name is selected when it, or a directory that it lies in, matches an include (or there is none), and neither
 * matches an exclude. Directories that may lead to an included name are selected too. Names are compared as bytes.
 * @throws AppError `config_invalid` with the pattern and what is wrong with it
 */
export function createSelection({ include, exclude, priority }: SelectionPatterns): Selection {
  const included = include.map(toMatcher)
  const excluded = exclude.map(toMatcher)
  const preferred = priority.map(toMatcher)
  const everything = included.length === 0 && excluded.length === 0
  return {
    selects(path, kind) {
      if (everything || path === '') return true
      if (excluded.some((matcher) => matches(matcher, path, kind === 'dir'))) return false
      if (included.length === 0) return true
      if (included.some((matcher) => matches(matcher, path, kind === 'dir'))) return true
      return kind === 'dir' && included.some(({ ways }) => leadsTo(ways, path))
    },
    isPriority: (path) => preferred.some((matcher) => matches(matcher, path, true)),
  }
}

interface Matcher {
  readonly exact: RegExp
  /** Names below what the pattern matches. */
  readonly below: RegExp
  readonly directoryOnly: boolean
  /** What the directories above a match must look like, one by one. */
  readonly ways: Ways
}

interface Ways {
  readonly segments: readonly RegExp[]
  /** After the segments any directory may lead to a match: the pattern goes on with `**`. */
  readonly open: boolean
}

const matches = ({ exact, below, directoryOnly }: Matcher, path: string, isDirectory: boolean): boolean =>
  ((isDirectory || !directoryOnly) && exact.test(path)) || below.test(path)

function leadsTo({ segments, open }: Ways, path: string): boolean {
  const names = path.split('/')
  if (names.length > segments.length && !open) return false
  return names.slice(0, segments.length).every((name, index) => segments[index]?.test(name))
}

function toMatcher(pattern: string): Matcher {
  const problem = problemOfPattern(pattern)
  if (problem)
    throw new AppError('config_invalid', `the pattern ${JSON.stringify(pattern)} ${problem}`, {
      hint: 'Correct workload.include, workload.exclude or workload.priority in the agent’s file.',
    })
  return compile(pattern)
}

/** What is wrong with a pattern, as the end of a sentence that begins with it; undefined for a good one. */
export function problemOfPattern(pattern: string): string | undefined {
  for (const [wrong, problem] of rules) if (wrong(pattern)) return problem
  try {
    compile(pattern)
    return undefined
  } catch (error) {
    return `is not a pattern (${error instanceof Error ? error.message : String(error)})`
  }
}

const rules: readonly [(pattern: string) => boolean, string][] = [
  [(pattern) => pattern === '', 'is empty'],
  [(pattern) => pattern.includes('\0'), 'has a zero byte, which no name can have'],
  [(pattern) => Buffer.byteLength(pattern) > MAX_PATTERN_BYTES, `is longer than ${MAX_PATTERN_BYTES} bytes`],
  [
    (pattern) => pattern.startsWith('/'),
    'begins with "/": patterns are relative to the state directories, such as cache/ or **/*.tmp',
  ],
  [
    (pattern) => pattern.startsWith('!'),
    'begins with "!": there is no negation, use include and exclude; a name that begins so is written \\!',
  ],
  [
    (pattern) => pattern.split('/').some((segment) => segment === '.' || segment === '..'),
    'has "." or ".." between slashes: write the path below the state directory',
  ],
  [(pattern) => pattern.includes('//'), 'has two slashes in a row'],
  [(pattern) => /(?:^|[^\\])(?:\\\\)*\\$/.test(pattern), 'ends with a single backslash'],
  [
    (pattern) => segmentsOf(pattern).some((segment) => segment.includes('/')),
    'has "/" inside brackets, braces or after a backslash: write one pattern for each',
  ],
  [
    (pattern) => /(?<!\\)\[[^\]]*\P{ASCII}/u.test(pattern),
    'has a letter that is not ASCII inside [...]: names are compared byte by byte; use {a,b}',
  ],
]

const OPTIONS: picomatch.PicomatchOptions = {
  dot: true,
  nonegate: true,
  noextglob: true,
  strictSlashes: true,
  strictBrackets: true,
  literalBrackets: false,
  posix: true,
  fastpaths: false,
  debug: true,
}

/** Names may hold any byte but zero, so `.` has to match a line feed too. */
const toRegExp = (glob: string, after: string): RegExp => {
  const { output } = picomatch.parse(plain(glob), OPTIONS) as unknown as { output: string }
  return new RegExp(`^(?:${output})${after}$`, 's')
}

/** Round brackets, bars and quotes are letters like any other here. */
const plain = (glob: string): string =>
  glob.replaceAll(/\\.|\[[^\]]*\]|[()|"]/gs, (part) => (part.length === 1 ? `\\${part}` : part))

function compile(pattern: string): Matcher {
  const directoryOnly = pattern.endsWith('/')
  const glob = bytesOf(directoryOnly ? pattern.slice(0, -1) : pattern)
  return {
    exact: toRegExp(glob, ''),
    below: toRegExp(glob, '/.+'),
    directoryOnly,
    ways: waysTo(glob),
  }
}

function waysTo(glob: string): Ways {
  const parents = segmentsOf(glob).slice(0, -1)
  const depth = parents.indexOf('**')
  const fixed = depth < 0 ? parents : parents.slice(0, depth)
  const open = depth >= 0 || glob === '**' || glob.endsWith('/**')
  return { segments: fixed.map((segment) => toRegExp(segment, '')), open }
}

/** Splits at slashes outside of brackets and braces. */
const segmentsOf = (pattern: string): string[] => pattern.match(/(?:\\.|\[[^\]]*\]|\{[^}]*\}|[^/])+/gs) ?? []

/** The pattern's UTF-8 bytes as a latin1 string, as names are. */
const bytesOf = (pattern: string): string => Buffer.from(pattern, 'utf8').toString('latin1')
