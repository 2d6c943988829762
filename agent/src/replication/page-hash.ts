import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import xxhash from 'xxhash-wasm'

const { h64Raw } = await xxhash()

/** 0 stands for a page of which nothing is known. */
const hashPage = (page: Uint8Array): bigint => h64Raw(page) || 1n

/**
 * Hashes `bytes` page by page into `pages`, beginning at page `first`. The last page may be short.
 * xxh64 tells pages apart (a collision is one in 2^64 per changed page); every batch is protected by SHA-256, and so
 * is the rolling verification.
 */
export function hashPages(bytes: Uint8Array, pages: BigUint64Array, first: number): void {
  for (let at = 0; at < bytes.length; at += MANY_ZEROS.length) {
    const part = bytes.subarray(at, at + MANY_ZEROS.length)
    const page = first + at / PAGE_BYTES
    if (isZeros(part)) pages.fill(ZERO_PAGE, page, page + part.length / PAGE_BYTES)
    else hashPart(part, pages, page)
  }
}

function hashPart(bytes: Uint8Array, pages: BigUint64Array, first: number): void {
  for (let at = 0, page = first; at < bytes.length; at += PAGE_BYTES, page += 1)
    pages[page] = hashPage(bytes.subarray(at, at + PAGE_BYTES))
}

export const pageCount = (size: number): number => Math.ceil(size / PAGE_BYTES)

const ZEROS = new Uint8Array(PAGE_BYTES)
const ZERO_PAGE = hashPage(ZEROS)
const [ZERO_LOW, ZERO_HIGH] = [Number(ZERO_PAGE & 0xffff_ffffn), Number(ZERO_PAGE >> 32n)]
const MANY_ZEROS = Buffer.alloc(256 * 1024)

/** Whole pages of nothing but zeros, as a hole reads: comparing is several times quicker than hashing. */
const isZeros = (bytes: Uint8Array): boolean =>
  bytes.length % PAGE_BYTES === 0 && MANY_ZEROS.compare(bytes, 0, bytes.length, 0, bytes.length) === 0

/** Tells for each page of a file of this size whether it reads as zeros. Quick: of a large hole there are millions. */
export function zeroPageTest(pages: BigUint64Array, size: number): (page: number) => boolean {
  // Two halves of a word are numbers, and the word would be an object. Little-endian, as every machine that we run on.
  const halves = new Uint32Array(pages.buffer, pages.byteOffset, pages.length * 2)
  const whole = Math.floor(size / PAGE_BYTES)
  const short = hashPage(ZEROS.subarray(0, size - whole * PAGE_BYTES))
  return (page) =>
    page < whole ? halves[2 * page] === ZERO_LOW && halves[2 * page + 1] === ZERO_HIGH : pages[page] === short
}

/** The pages between two places of a file, the first at the beginning of a page, as they are in a hole. */
export function fillZeroPages(pages: BigUint64Array, from: number, to: number): void {
  pages.fill(ZERO_PAGE, from / PAGE_BYTES, Math.floor(to / PAGE_BYTES))
  const rest = to % PAGE_BYTES
  if (rest !== 0 && from < to) pages[(to - rest) / PAGE_BYTES] = hashPage(ZEROS.subarray(0, rest))
}

/**
 * The pages of a file that gets another size, as truncating or extending it leaves them: what is new reads as zeros,
 * so holes are never sent; nothing is known of a page that the old end or the new one lies in. Both ends of a stream
 * do this alike. Returns `pages` itself where there is room.
 */
export function resizePages(pages: BigUint64Array, before: number, after: number): BigUint64Array {
  const count = pageCount(after)
  const resized = withRoom(pages, count)
  if (after < before) {
    if (after % PAGE_BYTES !== 0) resized[count - 1] = 0n
    return resized
  }
  if (after === before) return resized
  const known = pageCount(before)
  if (before % PAGE_BYTES !== 0) resized[known - 1] = 0n
  if (known < count) resized.fill(ZERO_PAGE, known, count)
  const rest = after % PAGE_BYTES
  if (rest !== 0 && known < count) resized[count - 1] = hashPage(ZEROS.subarray(0, rest))
  return resized
}

/** Room for at least `count` pages, with the old ones kept. */
export function withRoom(pages: BigUint64Array, count: number): BigUint64Array {
  if (pages.length >= count) return pages
  const larger = new BigUint64Array(Math.max(count, Math.min(pages.length * 2, pages.length + 65_536)))
  larger.set(pages)
  return larger
}
