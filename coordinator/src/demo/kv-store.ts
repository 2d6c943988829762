import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

/**
 * A small key-value store in append-only segments, as many real ones are built. Each record carries its checksum; a
 * torn end is cut off when the store is opened.
 */
export interface KeyValueStore {
  readonly size: number
  get(key: string): string | undefined
  entries(): Iterable<readonly [string, string]>
  /** Appends without syncing. */
  put(key: string, value: string): void
  /** Makes everything that was put durable. */
  sync(): void
}

const HEADER = 10
const SEGMENT_BYTES = 8 * 1024 * 1024

export function openKeyValueStore(directory: string): KeyValueStore {
  mkdirSync(directory, { recursive: true })
  const values = new Map<string, string>()
  const segments = readdirSync(directory)
    .filter((name) => /^\d{6}\.log$/.test(name))
    .sort()
  let used = 0
  for (const name of segments) used = readSegment(join(directory, name), values)
  let number = segments.length === 0 ? 1 : Number.parseInt(segments.at(-1) ?? '1', 10)
  let file = openSync(segmentPath(directory, number), 'a')

  return {
    get size() {
      return values.size
    },
    get: (key) => values.get(key),
    entries: () => values.entries(),
    put(key, value) {
      if (used >= SEGMENT_BYTES) {
        fdatasyncSync(file)
        closeSync(file)
        number += 1
        used = 0
        file = openSync(segmentPath(directory, number), 'a')
      }
      used += writeSync(file, encode(key, value))
      values.set(key, value)
    },
    sync: () => fdatasyncSync(file),
  }
}

const segmentPath = (directory: string, number: number): string =>
  join(directory, `${String(number).padStart(6, '0')}.log`)

function encode(key: string, value: string): Buffer {
  const keyBytes = Buffer.from(key)
  const valueBytes = Buffer.from(value)
  const record = Buffer.alloc(HEADER + keyBytes.length + valueBytes.length)
  record.writeUInt16BE(keyBytes.length, 4)
  record.writeUInt32BE(valueBytes.length, 6)
  keyBytes.copy(record, HEADER)
  valueBytes.copy(record, HEADER + keyBytes.length)
  record.writeUInt32BE(crc32(record.subarray(4)), 0)
  return record
}

/** Takes every whole record and cuts off what follows the last. Returns its length. */
function readSegment(path: string, values: Map<string, string>): number {
  const bytes = readFileSync(path)
  let at = 0
  while (at + HEADER <= bytes.length) {
    const keyLength = bytes.readUInt16BE(at + 4)
    const end = at + HEADER + keyLength + bytes.readUInt32BE(at + 6)
    if (end > bytes.length || crc32(bytes.subarray(at + 4, end)) !== bytes.readUInt32BE(at)) break
    const value = at + HEADER + keyLength
    values.set(bytes.toString('utf8', at + HEADER, value), bytes.toString('utf8', value, end))
    at = end
  }
  if (at < bytes.length) truncateSync(path, at)
  return at
}
