import { PAGE_BYTES } from '@understudy/shared/protocol/replication'
import xxhash from 'xxhash-wasm'

const { h64Raw } = await xxhash()

/** Hash of a page of zeros, as holes in sparse files have; 0 stands for a page that does not exist. */
const hashPage = (page: Uint8Array): bigint => h64Raw(page) || 1n

/**
 * Hashes `bytes` page by page into `pages`, beginning at page `first`. The last page may be short.
 * xxh64 tells pages apart (a collision is one in 2^64 per changed page); every batch is protected by SHA-256.
 */
export function hashPages(bytes: Uint8Array, pages: BigUint64Array, first: number): void {
  for (let at = 0, page = first; at < bytes.length; at += PAGE_BYTES, page += 1)
    pages[page] = hashPage(bytes.subarray(at, at + PAGE_BYTES))
}

export const pageCount = (size: number): number => Math.ceil(size / PAGE_BYTES)
