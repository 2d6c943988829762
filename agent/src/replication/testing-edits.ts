import { execFileSync } from 'node:child_process'
import { hash } from 'node:crypto'
import {
  appendFileSync,
  type BigIntStats,
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { pick, type Random, randomInt } from '@understudy/shared/core/random'
import { pino } from 'pino'
import { openXattrs } from './xattrs.ts'

/** Edits of every kind that a workload may make, and a picture of a tree in which every difference shows. */

const PAGE = 4096
const root = process.geteuid?.() === 0

/** The names that edits are about: few, so that they meet, and some that are not text. */
const NAMES = [
  ...['a', 'b', 'c', 'line\nbreak', 'n'.repeat(255), '\xff\xfe not UTF-8', '-rf', ' '],
  ...['d', 'd/e', 'd/f', 'd/g', 'd/g/h', 'd/g/\xc3', 'k', 'k/a', 'k/l/m/n'],
]

const bytesOf = (directory: string, name: string): Buffer =>
  Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name, 'latin1')])

type Edit = (path: Buffer, random: Random, other: Buffer) => void

const fill = (random: Random, most: number): Buffer =>
  Buffer.alloc(randomInt(random, 0, most), randomInt(random, 0, 3) === 0 ? 0 : randomInt(random, 1, 255))

const inPlace = (path: Buffer, at: number, bytes: Buffer): void => {
  const fd = openSync(path, 'r+')
  try {
    writeSync(fd, bytes, 0, bytes.length, at)
  } finally {
    closeSync(fd)
  }
}

const microseconds = (random: Random): number => randomInt(random, -5e14, 2e15) / 1e6

const edits: readonly Edit[] = [
  (path, random) => writeFileSync(path, fill(random, 20_000)),
  (path, random) => writeFileSync(path, fill(random, 90_000)),
  (path) => writeFileSync(path, ''),
  (path, random) => appendFileSync(path, fill(random, 9000)),
  (path, random) => truncateSync(path, randomInt(random, 0, 9000)),
  (path, random) =>
    truncateSync(
      path,
      Math.max(lstatSync(path).size, PAGE * randomInt(random, 0, 300)) + randomInt(random, 0, 9),
    ),
  (path, random) => inPlace(path, PAGE * randomInt(random, 0, 6), fill(random, 5000)),
  (path, random) => {
    // A page in the middle is written, and the time says that nothing was.
    const { mtimeMs } = lstatSync(path)
    inPlace(path, randomInt(random, 0, 3000), fill(random, 300))
    lutimesSync(path, mtimeMs / 1000, mtimeMs / 1000)
  },
  (path, random) => inPlace(path, PAGE * randomInt(random, 100, 900), fill(random, 100)),
  (path, _, other) => renameSync(path, other),
  (path, _, other) => linkSync(path, other),
  (path, _, other) => linkSync(path, other),
  (path, random, other) => {
    // As editors and databases replace a file.
    writeFileSync(other, fill(random, 6000))
    renameSync(other, path)
  },
  (path) => rmSync(path),
  (path) => rmSync(path, { recursive: true }),
  (path) => mkdirSync(path, { recursive: true }),
  (path) => mkdirSync(path),
  (path, random) => {
    rmSync(path, { recursive: true, force: true })
    // Edits write through links: none may lead to something that is really there outside.
    symlinkSync(pick(random, ['a', '/nonexistent-understudy/passwd', 'nowhere\n', 'd']), path)
  },
  (path) => {
    rmSync(path, { recursive: true, force: true })
    mkdirSync(path)
  },
  (path, random) => {
    rmSync(path, { recursive: true, force: true })
    writeFileSync(path, fill(random, 5000))
  },
  (path, random) => {
    if (!lstatSync(path).isSymbolicLink()) chmodSync(path, randomInt(random, 0, 0o7777) | (root ? 0 : 0o700))
  },
  (path, random) => {
    const [uid, gid] = [randomInt(random, 0, 3) * 1000, randomInt(random, 0, 70_000)]
    if (root && !lstatSync(path).isSymbolicLink()) chownSync(path, uid, gid)
  },
  (path, random) => lutimesSync(path, microseconds(random), microseconds(random)),
]

/** Does something to some name. What does not fit the tree as it is has no effect, or half of one. */
export function editSomething(random: Random, directory: string): void {
  const path = bytesOf(directory, pick(random, NAMES))
  const other = bytesOf(directory, pick(random, NAMES))
  try {
    pick(random, edits)(path, random, other)
  } catch {
    // No such name, not a directory, a directory into itself, and so on.
  }
}

const xattrs = await openXattrs(pino({ level: 'silent' }))

/** Why attributes are left out of edits and pictures, for the title of a test; undefined where they are not. */
export const withoutXattrs = xattrs.available ? undefined : 'the package attr is not installed'

/** Sets or removes an attribute of some name; takes some milliseconds. */
export function editAttributes(random: Random, directory: string): void {
  if (withoutXattrs !== undefined) return
  const name = `user.${pick(random, ['one', 'two'])}`
  const change =
    random() < 0.3 ? ['-x', name] : ['-n', name, '-v', `0x${fill(random, 40).toString('hex') || '00'}`]
  const found = NAMES.filter((each) => /^[a-z/]+$/.test(each))
  try {
    execFileSync('setfattr', ['-h', ...change, '--', `${directory}/${pick(random, found)}`], {
      stdio: 'ignore',
    })
  } catch {
    // Not there, or without that attribute.
  }
}

/**
 * Every name below a directory, and the directory itself, with all that is replicated of it: files with several names
 * say which.
 */
export async function fullPicture(directory: string): Promise<Record<string, string>> {
  const attributes = await xattrs.readTree(Buffer.from(directory))
  const picture: Record<string, string> = {}
  const inodes = new Map<bigint, string>()
  const visit = (name: string) => {
    const path = name === '' ? Buffer.from(directory) : bytesOf(directory, name)
    const stat = lstatSync(path, { bigint: true })
    const common = `${commonOf(stat)} ${attributes.get(path.toString('latin1')) ?? ''}`
    const first = stat.isFile() ? inodes.get(stat.ino) : undefined
    if (first === undefined) inodes.set(stat.ino, name)
    picture[name] = first === undefined ? `${contentOf(path, stat)} ${common}` : `the same file as ${first}`
    if (!stat.isDirectory()) return
    for (const child of readdirSync(path, { encoding: 'latin1' }).sort())
      visit(name === '' ? child : `${name}/${child}`)
  }
  visit('')
  return picture
}

const commonOf = (stat: BigIntStats): string => {
  const mode = stat.isSymbolicLink() ? '' : (stat.mode & 0o7777n).toString(8)
  return `${mode} ${root ? `${stat.uid}:${stat.gid}` : ''} ${stat.mtimeNs / 1000n}`
}

function contentOf(path: Buffer, stat: BigIntStats): string {
  if (stat.isDirectory()) return 'directory'
  if (stat.isSymbolicLink()) return `symlink to ${readlinkSync(path, { encoding: 'latin1' })}`
  return `file ${stat.size} ${stat.nlink} names ${hash('sha256', readFileSync(path))}`
}
