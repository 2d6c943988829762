import { statfsSync } from 'node:fs'
import type { Instant } from '@understudy/shared/core/time'
import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import { findsHoles } from './data-ranges.ts'
import { pageCount, zeroPageTest } from './page-hash.ts'
import { type Stat, statOf, TICK_NS } from './state-files.ts'

/**
 * Which pages of a file are still the holes that they were, without asking for them again (data-ranges.ts), which takes a process.
 *
 * A hole reads as zeros. When a file has just as many pages of zeros as it has pages without a block on the disk, every
 * page of zeros is a hole. A hole takes a block as soon as anybody writes to it or touches it through a memory map, and
 * that shows in the number of blocks, and in the time of change. So as long as both stay what they are, only the other
 * pages need be read again.
 *
 * Whatever else is counted as blocks, room beyond the end or the file system's own notes, makes the two numbers differ:
 * then everything is read.
 */

const BLOCK = 512
const BLOCKS_PER_PAGE = PAGE_BYTES / BLOCK
/** With less to leave out, counting is not worth it. */
const WORTH_PAGES = 4096

/**
 * ext2 to ext4, XFS and tmpfs: they count a block from the moment that it is promised, before it has a place on the disk, and say
 * so to whoever seeks a hole. Others count later (ZFS, which has also taken what was just written for a hole), after compression, or
 * not at all (many in user space). See statfs(2).
 */
const COUNTS_AT_ONCE: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x01021994])

function countZeroPages(pages: BigUint64Array, size: number): number {
  const isZero = zeroPageTest(pages, size)
  let zeros = 0
  for (let page = 0; page < pageCount(size); page += 1) if (isZero(page)) zeros += 1
  return zeros
}

/** Pages without a block, if nothing but the content is counted. */
const unallocated = ({ size, blocks }: Stat): number => pageCount(size) - blocks / BLOCKS_PER_PAGE

const hasHoles = (stat: Stat): boolean => unallocated(stat) >= WORTH_PAGES

/** It has so many holes that it is worth to find them instead of reading them, and they can be found (data-ranges.ts). */
export const canSkipHoles = (path: Buffer | string, stat: Stat): boolean =>
  hasHoles(stat) && findsHoles() && countsAtOnce(path)

/** Nothing has been put into a hole since. */
export const sameHoles = (before: Stat, now: Stat): boolean =>
  before.blocks === now.blocks &&
  before.size === now.size &&
  before.changedNs === now.changedNs &&
  before.inode === now.inode &&
  before.device === now.device

/**
 * Whether the pages of zeros that were read are just the holes of the file. `stat`: as it was before the first byte was
 * read, at `startedWall`.
 */
export function zerosAreHoles(
  path: Buffer,
  stat: Stat,
  pages: BigUint64Array,
  startedWall: Instant,
): boolean {
  if (!hasHoles(stat)) return false
  // A change within the same tick of the kernel's clock would leave the same time.
  if (stat.changedNs > BigInt(Math.round(startedWall)) * 1_000_000n - TICK_NS) return false
  if (countZeroPages(pages, stat.size) !== unallocated(stat)) return false
  const now = statOf(path)
  return now !== undefined && sameHoles(stat, now) && countsAtOnce(path)
}

function countsAtOnce(path: Buffer | string): boolean {
  try {
    return COUNTS_AT_ONCE.has(statfsSync(path).type)
  } catch {
    // It has gone meanwhile.
    return false
  }
}
