import {
  closeSync,
  fdatasyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

/**
 * A small key-value store in append-only segments, as many real ones are built: the keys are in memory, the values on
 * disk. Each record carries its checksum; a torn end is cut off when the store is opened.
 */
export interface KeyValueStore {
  readonly size: number
  get(key: string): string | undefined
  keys(): Iterable<string>
  /** Appends without syncing. Throws when the disk is full; then nothing was appended. */
  put(key: string, value: string): void
  /** Makes everything that was put durable. */
  sync(): void
  /** Takes away everything that was put after the last key for which `isKept` holds; made durable by `sync`. */
  cutBack(isKept: (key: string) => boolean): void
}

/** Where a value lies. */
interface Place {
  readonly file: number
  readonly at: number
  readonly length: number
}

/** Checksum of all that follows it (4), length of the key (2), length of the value (4). */
const HEADER = 10
const SEGMENT_BYTES = 8 * 1024 * 1024

export function openKeyValueStore(directory: string): KeyValueStore {
  mkdirSync(directory, { recursive: true })
  const places = new Map<string, Place>()
  const numbers = readdirSync(directory)
    .filter((name) => /^\d{6}\.log$/.test(name))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b)
  let number = numbers.at(-1) ?? 1
  const files = new Map<number, number>()
  const open = (segment: number) => {
    const opened = openSegment(directory, segment)
    files.set(segment, opened)
    return opened
  }
  for (const sealed of numbers.slice(0, -1)) readSegment(open(sealed), segmentPath(directory, sealed), places)
  let file = open(number)
  let used = readSegment(file, segmentPath(directory, number), places)
  // Only the last segment can have a torn end: the others were synced before the next was begun.
  ftruncateSync(file, used)

  return {
    get size() {
      return places.size
    },
    get(key) {
      const place = places.get(key)
      if (!place) return undefined
      const value = Buffer.alloc(place.length)
      readSync(place.file, value, 0, place.length, place.at)
      return value.toString('utf8')
    },
    keys: () => places.keys(),
    put(key, value) {
      if (used >= SEGMENT_BYTES) {
        fdatasyncSync(file)
        number += 1
        used = 0
        file = open(number)
      }
      const { record, valueAt } = encode(key, value)
      const written = writeSync(file, record)
      if (written < record.length) {
        // A disk that is almost full takes a part and says nothing.
        ftruncateSync(file, used)
        throw new Error(`no space left: ${written} of ${record.length} bytes were written`)
      }
      places.set(key, { file, at: used + valueAt, length: record.length - valueAt })
      used += record.length
    },
    sync: () => fdatasyncSync(file),
    cutBack(isKept) {
      const order = [...files.keys()].sort((a, b) => a - b)
      const positionOf = (place: Place) => {
        const index = order.findIndex((segment) => files.get(segment) === place.file)
        return { index, end: place.at + place.length }
      }
      const ends = [...places].filter(([key]) => isKept(key)).map(([, place]) => positionOf(place))
      const last = ends.reduce((a, b) => (isAfter(b, a) ? b : a), { index: 0, end: 0 })
      for (const [key, place] of places) if (isAfter(positionOf(place), last)) places.delete(key)
      for (const segment of order.slice(last.index + 1)) {
        closeSync(files.get(segment) ?? -1)
        files.delete(segment)
        unlinkSync(segmentPath(directory, segment))
      }
      number = order[last.index] ?? number
      file = files.get(number) ?? file
      used = last.end
      ftruncateSync(file, used)
    },
  }
}

type Position = { readonly index: number; readonly end: number }
const isAfter = (a: Position, b: Position): boolean =>
  a.index > b.index || (a.index === b.index && a.end > b.end)

const segmentPath = (directory: string, number: number): string =>
  join(directory, `${String(number).padStart(6, '0')}.log`)

const openSegment = (directory: string, number: number): number =>
  openSync(segmentPath(directory, number), 'a+')

function encode(key: string, value: string): { record: Buffer; valueAt: number } {
  const keyBytes = Buffer.from(key)
  const valueBytes = Buffer.from(value)
  const valueAt = HEADER + keyBytes.length
  const record = Buffer.alloc(valueAt + valueBytes.length)
  record.writeUInt16BE(keyBytes.length, 4)
  record.writeUInt32BE(valueBytes.length, 6)
  keyBytes.copy(record, HEADER)
  valueBytes.copy(record, valueAt)
  record.writeUInt32BE(crc32(record.subarray(4)), 0)
  return { record, valueAt }
}

/** Takes every whole record. Returns where the last of them ends. */
function readSegment(file: number, path: string, places: Map<string, Place>): number {
  const bytes = readFileSync(path)
  let at = 0
  while (at + HEADER <= bytes.length) {
    const valueAt = at + HEADER + bytes.readUInt16BE(at + 4)
    const length = bytes.readUInt32BE(at + 6)
    const end = valueAt + length
    if (end > bytes.length || crc32(bytes.subarray(at + 4, end)) !== bytes.readUInt32BE(at)) break
    places.set(bytes.toString('utf8', at + HEADER, valueAt), { file, at: valueAt, length })
    at = end
  }
  return at
}
