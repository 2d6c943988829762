import { spawn } from 'node:child_process'
import { systemCodeOf } from '@understudy/shared/core/app-error'

/** From the first byte, and up to but not with the last. */
export type ByteRange = readonly [from: number, to: number]

/** A file in so many pieces that its map is longer than this is read whole. */
const MAX_MAP = 16 * 1024 * 1024
const TAR_BLOCK = 512
const TIMEOUT = 2000
/** What is asked about is inherited as this file descriptor: its name may lead to something else by now. */
const INHERITED = 3
const ARGUMENTS = [
  ...['--create', '--file=-', '--sparse', '--hole-detection=seek', '--format=posix', '--sparse-version=0.1'],
  ...['--dereference', `/proc/self/fd/${INHERITED}`],
]

/** Programs that were asked once and are not there, or are another tar. */
const useless = new Set<string>()

/** Whether `dataRanges` may be of use: as far as is known there is a program that it can ask. */
export const findsHoles = (program = 'tar'): boolean => !useless.has(program)

/**
 * The parts of an open file that are not holes, in order, from `lseek` with SEEK_DATA and SEEK_HOLE: Node has no call for
 * it, so GNU tar is asked. It puts the map of a sparse file before its content (tar manual, "PAX Format, Version 0.1"), and is
 * ended before it has read any more. Undefined where nobody can say, or the file has become shorter than `size`.
 */
export async function dataRanges(
  fd: number,
  size: number,
  program = 'tar',
): Promise<readonly ByteRange[] | undefined> {
  if (!findsHoles(program)) return undefined
  const head = await headOf(program, fd)
  return head === undefined ? undefined : rangesIn(head, size)
}

/** The extended header of the only file of the archive; undefined when none came. */
function headOf(program: string, fd: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program, ARGUMENTS, {
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'ignore', fd],
      timeout: TIMEOUT,
      killSignal: 'SIGKILL',
    })
    let begin = Buffer.alloc(0)
    const end = (head: string | undefined) => {
      resolve(head)
      child.kill('SIGKILL')
      child.stdout?.destroy()
    }
    child.on('error', (error) => {
      if (systemCodeOf(error) === 'ENOENT') useless.add(program)
      end(undefined)
    })
    child.on('close', (code) => {
      if (code !== 0 && code !== null && begin.length === 0) useless.add(program)
      resolve(undefined)
    })
    child.stdout?.on('data', (bytes: Buffer) => {
      begin = Buffer.concat([begin, bytes])
      if (begin.length < TAR_BLOCK) return
      const length = headLength(begin)
      if (length === undefined || length > MAX_MAP) return end(undefined)
      if (begin.length >= TAR_BLOCK + length) end(begin.toString('latin1', TAR_BLOCK, TAR_BLOCK + length))
    })
  })
}

/** Bytes of the extended header that the first block announces; undefined when it is another block. */
function headLength(block: Buffer): number | undefined {
  const isExtended = block.toString('latin1', 156, 157) === 'x'
  const length = Number.parseInt(block.toString('latin1', 124, 136), 8)
  return isExtended && Number.isSafeInteger(length) ? length : undefined
}

/** Pure. `head`: records `<length> <key>=<value>\n`; without a map the file is in one piece. */
export function rangesIn(head: string, size: number): readonly ByteRange[] | undefined {
  const map = /GNU\.sparse\.map=([\d,]*)\n/.exec(head)?.[1]
  if (map === undefined) return [[0, size]]
  const wholeSize = Number(/GNU\.sparse\.size=(\d+)\n/.exec(head)?.[1])
  if (!(wholeSize >= size)) return undefined
  const numbers = map.split(',').map(Number)
  const ranges: ByteRange[] = []
  let end = 0
  for (let index = 0; index + 1 < numbers.length; index += 2) {
    const [from, length] = [numbers[index] ?? Number.NaN, numbers[index + 1] ?? Number.NaN]
    if (!Number.isSafeInteger(from + length) || from < end) return undefined
    end = from + length
    if (length > 0 && from < size) ranges.push([from, Math.min(end, size)])
  }
  return ranges
}
