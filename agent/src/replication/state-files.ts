import { type BigIntStats, constants, lstatSync, readdirSync, readlinkSync } from 'node:fs'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { Metadata } from '@understudy/shared/protocol/replication'
import { createSelection, type Selection } from './selection.ts'
import { type Key, parentOf, splitKey } from './state-tree.ts'

const EVERYTHING = createSelection({ include: [], exclude: [], priority: [] })

/** Two writes within one tick of the kernel's clock leave the same time stamp. */
export const TICK_NS = 20_000_000n

/** Names are bytes; a latin1 string keeps every one of them. */
const bytesOf = (path: string): Buffer => Buffer.from(path, 'latin1')

/** Turns keys into file names below the state directories of one instance, in order. */
export interface StateRoots {
  readonly directories: readonly string[]
  /** Those of the workload, without the agent's own record. */
  readonly stateDirectories: readonly string[]
  pathOf(key: Key): Buffer
  /** Whether the name is replicated at all. */
  selects(key: Key, kind: 'dir' | 'file' | 'symlink'): boolean
  /** Whether the name is one that matters most when there is no time for all. */
  isPriority(key: Key): boolean
  /** Whether its extended attributes belong to the state: not so in the agent's own record. */
  hasAttributes(key: Key): boolean
}

/** `selection` holds for the first `selected` of the directories, all of them by default; all of the others is taken. */
export function createStateRoots(
  directories: readonly string[],
  selection: Selection = EVERYTHING,
  selected = directories.length,
): StateRoots {
  const prefixes = directories.map((directory) => Buffer.from(`${directory}/`, 'utf8'))
  return {
    directories,
    stateDirectories: directories.slice(0, selected),
    pathOf(key) {
      const { root, path } = splitKey(key)
      const prefix = prefixes[root]
      if (!prefix) throw new AppError('protocol', `there is no state directory number ${root}`)
      return path === '' ? prefix.subarray(0, -1) : Buffer.concat([prefix, bytesOf(path)])
    },
    selects(key, kind) {
      const { root, path } = splitKey(key)
      return path === '' || root >= selected || selection.selects(path, kind)
    },
    isPriority(key) {
      const { root, path } = splitKey(key)
      return root >= selected || selection.isPriority(path)
    },
    hasAttributes: (key) => splitKey(key).root < selected,
  }
}

/** What an lstat says, in the form that both ends compare. */
export interface Stat {
  readonly kind: 'dir' | 'file' | 'symlink' | 'other'
  readonly meta: Metadata
  readonly size: number
  /** What a file takes on the disk, in units of 512 bytes. */
  readonly blocks: number
  readonly device: bigint
  readonly inode: bigint
  /** Number of names that a file has. */
  readonly links: number
  /** Changes whenever content or metadata do; not settable by users. */
  readonly changedNs: bigint
  readonly modifiedNs: bigint
}

/** undefined when there is nothing of that name. */
export function statOf(path: Buffer): Stat | undefined {
  try {
    const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
    return stats && toStat(stats)
  } catch (error) {
    // What was a directory above it is a file by now, or a symlink that leads in a circle.
    if (systemCodeOf(error) === 'ENOTDIR' || systemCodeOf(error) === 'ELOOP') return undefined
    throw error
  }
}

let device = 0n

/** One number for all files of a device, not one for each. */
function sharedDevice(of: bigint): bigint {
  if (of !== device) device = of
  return device
}

export function toStat(stats: BigIntStats): Stat {
  const kind = stats.isDirectory()
    ? 'dir'
    : stats.isFile()
      ? 'file'
      : stats.isSymbolicLink()
        ? 'symlink'
        : 'other'
  return {
    kind,
    meta: {
      mode: kind === 'symlink' ? 0o777 : Number(stats.mode) & 0o7777,
      uid: Number(stats.uid),
      gid: Number(stats.gid),
      mtimeMicros: Number(stats.mtimeNs / 1000n),
      xattrs: '',
    },
    size: kind === 'file' ? Number(stats.size) : 0,
    blocks: kind === 'file' ? Number(stats.blocks) : 0,
    device: sharedDevice(stats.dev),
    inode: stats.ino,
    links: kind === 'file' ? Number(stats.nlink) : 1,
    changedNs: stats.ctimeNs,
    // Mostly the same moment: one number for both.
    modifiedNs: stats.mtimeNs === stats.ctimeNs ? stats.ctimeNs : stats.mtimeNs,
  }
}

export const readNames = (path: Buffer): string[] =>
  readdirSync(path, { encoding: 'buffer' }).map((name) => name.toString('latin1'))

export const readTarget = (path: Buffer): string =>
  readlinkSync(path, { encoding: 'buffer' }).toString('latin1')

/** Opens for reading without following a link that somebody put in the way, or waiting for the other end of a pipe. */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Every directory above `key` is one on disk: no link leads elsewhere. */
export function parentsAreDirectories(roots: StateRoots, key: Key): boolean {
  for (let parent = parentOf(key); ; parent = parentOf(parent)) {
    if (statOf(roots.pathOf(parent))?.kind !== 'dir') return false
    if (parent.endsWith('/')) return true
  }
}

/**
 * Checks that every state directory can be used before the workload depends on it.
 * @throws AppError `state_unreadable` with the directory, the reason and what to do
 */
export function checkStateDirectories(directories: readonly string[]): void {
  for (const directory of directories) {
    try {
      const stats = statOf(Buffer.from(directory))
      if (!stats) throw missing(directory)
      if (stats.kind !== 'dir')
        throw new AppError('state_unreadable', `the state directory ${directory} is not a directory`, {
          hint: 'Name the directory itself in workload.state, not a file or a link to it.',
        })
      readNames(Buffer.from(directory))
    } catch (error) {
      if (error instanceof AppError) throw error
      throw unreadable(directory, error)
    }
  }
}

const missing = (directory: string): AppError =>
  new AppError('state_unreadable', `the state directory ${directory} does not exist`, {
    hint: `Create it (mkdir -p ${directory}) or correct workload.state in the agent's file.`,
  })

const unreadable = (path: string, cause: unknown): AppError =>
  new AppError('state_unreadable', `${path} cannot be read (${systemCodeOf(cause) ?? messageOf(cause)})`, {
    hint: 'The agent must be able to read everything below the state directories; run it as a user that can.',
    cause,
  })
