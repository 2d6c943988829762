/** Objects by their key, as S3 keeps them. Keys are given without the prefix under which they are all kept. */
export interface Bucket {
  /** As `s3://bucket/prefix`. */
  readonly name: string
  /**
   * Durable, and whole, when it resolves; at most 64 MiB. Returns false where the key is there already and `replace` is not
   * given: then nothing is written.
   * @throws AppError `unavailable` (retryable; also when `signal` has ended it), `forbidden`, `not_found` when there is no such bucket
   */
  put(key: string, content: Uint8Array, options?: PutOptions): Promise<boolean>
  /**
   * Undefined where it is not there.
   * @param most bytes that it may have
   * @throws as `put`; AppError `payload_too_large`
   */
  get(key: string, most: number, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /** Also what is not there. @throws as `put` */
  remove(key: string, signal?: AbortSignal): Promise<void>
}

export interface PutOptions {
  readonly replace?: boolean
  readonly signal?: AbortSignal | undefined
}
