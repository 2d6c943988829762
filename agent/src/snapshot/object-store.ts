import { AppError } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'

export interface StoredObject {
  readonly key: string
  readonly bytes: number
  readonly modified: Instant
}

/**
 * Where snapshots are kept: whole objects under keys of `/`-separated names. Every method may throw AppError
 * `forbidden`, `not_found` (there is no such store, or no such object to get) or `unavailable` (retryable; retries
 * within the call are used up), and rejects with the signal's reason once it aborts.
 */
export interface ObjectStore {
  /** For people; holds no secret. */
  readonly name: string
  /**
   * Whole and durable once it resolves, checked against the SHA-256 of `bytes` on the way; nothing is left behind
   * when it fails. Replaces what was there.
   * @throws AppError `disk_full`
   */
  put(key: string, bytes: Uint8Array, signal: AbortSignal): Promise<void>
  /** @throws AppError `protocol` when it holds more than `maxBytes` */
  get(key: string, maxBytes: number, signal: AbortSignal): Promise<Buffer>
  /** Whatever begins with `prefix`, in no order. */
  list(prefix: string, signal: AbortSignal): Promise<StoredObject[]>
  /** Keys that are not there are no error. */
  remove(keys: readonly string[], signal: AbortSignal): Promise<void>
  /** Drops what uploads that were cut off before `before` have left behind. Returns how many. */
  sweep(prefix: string, before: Instant, signal: AbortSignal): Promise<number>
  close(): void
}

/** Names as they are written by this agent: safe as file names, as URLs and in a shell. */
export function assertKey(key: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*)*$/.test(key)) return
  throw new AppError('input_invalid', `${JSON.stringify(key.slice(0, 200))} is no name of an object`)
}

export const noSuchObject = (key: string, store: string, cause?: unknown): AppError =>
  new AppError('not_found', `${key} is not in ${store}`, { cause })

export const tooLarge = (key: string, maxBytes: number): AppError =>
  new AppError('protocol', `${key} holds more than the ${maxBytes} bytes that it may have`)
