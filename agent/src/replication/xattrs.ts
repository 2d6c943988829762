import { AppError, isAppError, messageOf } from '@understudy/shared/core/app-error'
import { minutes } from '@understudy/shared/core/time'
import { decodeXattrs, encodeXattrs, type Xattr } from '@understudy/shared/protocol/xattrs'
import type { Logger } from 'pino'
import { runTool, type ToolRun } from './run-tool.ts'
import { asAppError, complaintsOf, createDumpReader, toDump, type XattrsOrError } from './xattr-dump.ts'

/**
 * Extended attributes, access control lists and file capabilities, by `getfattr` and `setfattr` (Debian package
 * attr): Node has no call for them. One process serves many files, and the failure of one file is that file's alone.
 * Links are never followed. Nothing but `write` rejects: answers say what failed. Attributes of one name are one text,
 * the canonical form of shared/protocol/xattrs.ts.
 */
export interface Xattrs {
  /** The tools are there. Without them everything reads as having no attributes. */
  readonly available: boolean
  /** One answer per path, in order: the attributes, or why they could not be read. */
  read(paths: readonly Buffer[]): Promise<XattrsOrError[]>
  /**
   * Everything below a directory, and itself, that has attributes, by full path (latin1 for bytes). What cannot be
   * read is missing, and logged.
   */
  readTree(directory: Buffer): Promise<Map<string, string>>
  /** Sets these and removes all others. @throws what `writeAll` answers */
  write(path: Buffer, attributes: string): Promise<void>
  /**
   * The same for many. Answers per entry, in order, undefined once a look afterwards finds exactly what was wanted;
   * else AppError `not_supported`, `protocol` (not the canonical form) or `state_unreadable` with the reason.
   */
  writeAll(entries: readonly XattrEntry[]): Promise<(AppError | undefined)[]>
}

export interface XattrEntry {
  readonly path: Buffer
  readonly attributes: string
}

const BUDGET = minutes(1)
const TREE_BUDGET = minutes(15)
const GETFATTR = ['getfattr', '-h', '-d', '-m', '-', '-e', 'hex', '--absolute-names'] as const
/** xargs would begin a second command above 128 KiB of arguments. */
const REMOVE_AT_ONCE = { paths: 500, bytes: 64 * 1024 }
const NOT_SUPPORTED = 'Operation not supported'
/** xargs ends so when what it ran has failed, which is told for each file. */
const SOME_FAILED = 123

/** Looks for the tools; says in the log when they are missing. */
export async function openXattrs(log: Logger): Promise<Xattrs> {
  const why = await missingTool()
  if (why === undefined) return createXattrs(log, process.geteuid?.() === 0)
  log.warn({
    event: 'xattrs.unavailable',
    why,
    hint: 'Install the package attr (apt-get install attr): without it extended attributes, access control lists and file capabilities are not replicated.',
  })
  return withoutTools
}

async function missingTool(): Promise<string | undefined> {
  for (const tool of ['getfattr', 'setfattr', 'xargs'])
    try {
      await runTool({ command: [tool, '--version'], input: '', budget: BUDGET, onOutput: () => undefined })
    } catch (error) {
      return messageOf(error)
    }
  return undefined
}

const withoutTools: Xattrs = {
  available: false,
  read: async (paths) => paths.map(() => ''),
  readTree: async () => new Map(),
  async write(path, attributes) {
    throwFirst(await this.writeAll([{ path, attributes }]))
  },
  writeAll: async (entries) =>
    entries.map(({ path, attributes }) =>
      attributes === ''
        ? undefined
        : new AppError('not_supported', `extended attributes of ${shown(path)} cannot be set here`, {
            hint: 'Install the package attr (apt-get install attr) and restart the agent.',
          }),
    ),
}

/** Like `runTool`; what keeps it from running or ending counts as said by it. */
const attempt = (run: ToolRun): Promise<{ code: number; stderr: string }> =>
  runTool(run).catch((error: unknown) => ({ code: -1, stderr: messageOf(error) }))

function createXattrs(log: Logger, root: boolean): Xattrs {
  /** Others can neither see nor set what is root's. */
  const ours = (name: string): boolean => root || !/^(?:trusted|security)\./.test(name)

  async function read(paths: readonly Buffer[]): Promise<XattrsOrError[]> {
    if (paths.length === 0) return []
    const names = paths.map((path) => path.toString('latin1'))
    const known = new Set(names)
    const found = new Map<string, XattrsOrError>()
    const reader = createDumpReader(ours, (path, attributes) => found.set(path, attributes))
    const { code, stderr } = await attempt({
      command: ['xargs', '-0', '-r', ...GETFATTR, '--'],
      input: names.join('\0'),
      budget: BUDGET,
      onOutput: reader.push,
    })
    reader.end()
    const complaints = complaintsOf(stderr, (path) => known.has(path))
    const general = code === 0 ? undefined : (complaints.get(undefined) ?? generalOf(code, complaints.size))
    return names.map((name, index) => {
      const complaint = complaints.get(name)
      // A file system that has none.
      if (complaint?.endsWith(NOT_SUPPORTED)) return found.get(name) ?? ''
      if (complaint !== undefined) return unreadable(paths[index], complaint)
      // Whom it is about is not known: only what was printed is certain.
      return found.get(name) ?? (general === undefined ? '' : unreadable(paths[index], general))
    })
  }

  async function readTree(directory: Buffer): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    const failed: string[] = []
    const reader = createDumpReader(ours, (path, attributes) => {
      if (typeof attributes !== 'string') failed.push(`${path}: ${attributes.message}`)
      else if (attributes !== '') found.set(path, attributes)
    })
    const { code, stderr } = await attempt({
      command: ['xargs', '-0', '-r', ...GETFATTR, '-R', '-P', '--'],
      input: directory.toString('latin1'),
      budget: TREE_BUDGET,
      onOutput: reader.push,
    })
    reader.end()
    // What is gone by now has no attributes.
    failed.push(
      ...stderr.split('\n').filter((line) => line !== '' && !line.endsWith('No such file or directory')),
    )
    if (code !== 0 && code !== SOME_FAILED) failed.push(`it ended with ${code}`)
    if (failed.length > 0)
      log.warn({
        event: 'xattrs.unreadable',
        directory: shown(directory),
        count: failed.length,
        why: failed[0],
      })
    return found
  }

  async function writeAll(entries: readonly XattrEntry[]): Promise<(AppError | undefined)[]> {
    const wanted = entries.map(({ attributes }) => parse(attributes, ours))
    const before = await read(entries.map(({ path }) => path))
    const results = entries.map((_, index) => problemOf(wanted[index]) ?? problemOf(before[index]))
    const changes = entries.flatMap(({ path }, index) => {
      const [want, have] = [wanted[index], before[index]]
      if (!want || isAppError(want) || typeof have !== 'string' || encodeXattrs(want) === have) return []
      return [{ index, path, want: encodeXattrs(want), ...stepsOf(want, decodeXattrs(have)) }]
    })
    const said = await remove(changes)
    const dump = changes.map(({ path, set }) => (set.length > 0 ? toDump(path, set) : '')).join('')
    if (dump !== '') said.push(await run(['setfattr', '-h', '--restore=-'], dump))
    const after = await read(changes.map(({ path }) => path))
    const paths = new Set(changes.map(({ path }) => path.toString('latin1')))
    const complaints = complaintsOf(said.join(''), (path) => paths.has(path))
    for (const [at, { index, path, want }] of changes.entries()) {
      const have = after[at]
      if (have === want) continue
      const why = complaints.get(path.toString('latin1')) ?? 'they are not what was written'
      results[index] = problemOf(have) ?? unwritable(path, why)
    }
    return results
  }

  /** Returns what was said of it. */
  async function remove(changes: readonly { path: Buffer; drop: readonly string[] }[]): Promise<string[]> {
    const removals = new Map<string, Buffer[]>()
    for (const { path, drop } of changes)
      for (const name of drop) {
        const paths = removals.get(name)
        if (paths) paths.push(path)
        else removals.set(name, [path])
      }
    const said: string[] = []
    for (const [name, paths] of removals)
      for (const chunk of chunksOf(paths))
        said.push(
          await run(
            ['xargs', '-0', '-r', 'setfattr', '-h'],
            ['-x', name, '--', ...chunk.map((path) => path.toString('latin1'))].join('\0'),
          ),
        )
    return said
  }

  async function run(command: readonly [string, ...string[]], input: string): Promise<string> {
    const { stderr } = await attempt({ command, input, budget: BUDGET, onOutput: () => undefined })
    return stderr
  }

  return {
    available: true,
    read,
    readTree,
    async write(path, attributes) {
      throwFirst(await writeAll([{ path, attributes }]))
    },
    writeAll,
  }
}

/** The attributes that this process may set, in order of name; or what is wrong with the text. */
function parse(attributes: string, ours: (name: string) => boolean): Xattr[] | AppError {
  try {
    return decodeXattrs(attributes).filter(({ name }) => ours(name))
  } catch (error) {
    return asAppError(error)
  }
}

/** What to set and what to remove. */
function stepsOf(want: readonly Xattr[], have: readonly Xattr[]): { set: Xattr[]; drop: string[] } {
  const current = new Map(have.map(({ name, value }) => [name, value]))
  const names = new Set(want.map(({ name }) => name))
  return {
    set: want.filter(({ name, value }) => current.get(name) !== value),
    drop: [...current.keys()].filter((name) => !names.has(name)),
  }
}

function* chunksOf(paths: readonly Buffer[]): Generator<Buffer[]> {
  let chunk: Buffer[] = []
  let bytes = 0
  for (const path of paths) {
    if (chunk.length >= REMOVE_AT_ONCE.paths || bytes + path.length > REMOVE_AT_ONCE.bytes) {
      yield chunk
      chunk = []
      bytes = 0
    }
    chunk.push(path)
    bytes += path.length
  }
  if (chunk.length > 0) yield chunk
}

const generalOf = (code: number, complaints: number): string | undefined =>
  code === SOME_FAILED && complaints > 0 ? undefined : `getfattr ended with ${code}`

const problemOf = (result: unknown): AppError | undefined => (isAppError(result) ? result : undefined)

function throwFirst(results: readonly (AppError | undefined)[]): void {
  if (results[0]) throw results[0]
}

const shown = (path: Buffer | undefined): string => path?.toString('utf8') ?? ''

const unreadable = (path: Buffer | undefined, why: string): AppError =>
  new AppError('state_unreadable', `extended attributes of ${shown(path)} cannot be read (${why})`)

const codeOf = (why: string) => (why.endsWith(NOT_SUPPORTED) ? 'not_supported' : 'state_unreadable')

const unwritable = (path: Buffer, why: string): AppError =>
  new AppError(codeOf(why), `extended attributes of ${shown(path)} cannot be set (${why})`, {
    hint: 'The file system must take them, and the agent run as root for those that only root may set.',
  })
