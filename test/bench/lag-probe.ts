import { closeSync, mkdirSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { byteSource, databasePages, PAGE } from './replication-tree.ts'

/**
 * Writes small records that carry their time into one tree and looks for them in another, every millisecond, from one
 * process with one clock. What counts is when a reader of the copy can see a record.
 */
const FILES = 20
const RECORD = 100
const SLOTS = 8
const PAGES_PER_SECOND = 10
/** So long what is missing at the end may still come, in milliseconds. */
const PATIENCE = 30_000

export interface Lags {
  /** Milliseconds, one for each record that was seen. */
  readonly lags: readonly number[]
  readonly written: number
  readonly unseen: number
}

/** The empty files, so that the first copy is over before the clock runs. */
export function prepareProbe(from: string): void {
  mkdirSync(from, { recursive: true })
  for (let file = 0; file < FILES; file += 1) closeSync(openSync(join(from, `log${file}`), 'w'))
  const pages = openSync(join(from, 'pages'), 'w')
  writeSync(pages, databasePages(byteSource('probe'), SLOTS))
  closeSync(pages)
}

export async function probeLag(
  from: string,
  to: string,
  { seconds, rate }: { seconds: number; rate: number },
  patience = PATIENCE,
): Promise<Lags> {
  const writer = createWriter(from)
  const reader = createReader(to, writer.pending)
  const start = performance.now()
  const end = start + seconds * 1000
  const total = seconds * rate
  const totalPages = seconds * PAGES_PER_SECOND
  for (let now = start; now < end + patience; now = performance.now()) {
    const dueRecords = Math.min(total, Math.ceil(((now - start) / 1000) * rate))
    while (writer.records < dueRecords) writer.append()
    const duePages = Math.min(totalPages, Math.ceil(((now - start) / 1000) * PAGES_PER_SECOND))
    while (writer.pages < duePages) writer.rewrite()
    reader.look()
    if (writer.records === total && writer.pages === totalPages && reader.lags.length === total + totalPages)
      break
    await sleep(1)
  }
  writer.close()
  const written = writer.records + writer.pages
  return { lags: reader.lags, written, unseen: written - reader.lags.length }
}

function createWriter(from: string) {
  const source = byteSource('records')
  const logs = Array.from({ length: FILES }, (_, file) => openSync(join(from, `log${file}`), 'a'))
  const file = openSync(join(from, 'pages'), 'r+')
  const page = databasePages(source, 1)
  /** Of each page, the times of versions that have not been seen. */
  const pending: number[][] = Array.from({ length: SLOTS }, () => [])
  let records = 0
  let pages = 0
  return {
    pending,
    get records() {
      return records
    },
    get pages() {
      return pages
    },
    append() {
      const filler = source.bytes(36).toString('hex')
      writeSync(
        logs[records % FILES] as number,
        `${`${stamp(performance.now())} ${filler}`.padEnd(RECORD - 1)}\n`,
      )
      records += 1
    },
    rewrite() {
      const time = stamp(performance.now())
      page.write(time)
      writeSync(file, page, 0, PAGE, (pages % SLOTS) * PAGE)
      pending[pages % SLOTS]?.push(Number(time))
      pages += 1
    },
    close() {
      for (const open of [...logs, file]) closeSync(open)
    },
  }
}

/** The copy's files may be changed in place or replaced, so each is opened by name when it has grown. */
function createReader(to: string, pending: readonly number[][]) {
  const lags: number[] = []
  const offsets = Array.from({ length: FILES }, () => 0)
  const buffer = Buffer.alloc(1024 * RECORD)

  function readLog(path: string, offset: number): number {
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
    if (size < offset + RECORD) return offset
    const length = readAt(path, buffer, offset)
    const now = performance.now()
    let at = 0
    // A record of zeros is room that has been made for one.
    for (; at + RECORD <= length && buffer[at + RECORD - 1] === 10; at += RECORD)
      lags.push(now - Number(buffer.toString('latin1', at, at + STAMP)))
    return offset + at
  }

  function readPages(path: string): void {
    const slots = Buffer.alloc(SLOTS * PAGE)
    if (readAt(path, slots, 0) < slots.length) return
    const now = performance.now()
    for (const [slot, waiting] of pending.entries()) {
      const seen = Number(slots.toString('latin1', slot * PAGE, slot * PAGE + STAMP))
      // Who sees a version sees everything that it has replaced.
      while (waiting.length > 0 && (waiting[0] as number) <= seen)
        lags.push(now - (waiting.shift() as number))
    }
  }

  return {
    lags: lags as readonly number[],
    look() {
      for (let file = 0; file < FILES; file += 1)
        offsets[file] = readLog(join(to, `log${file}`), offsets[file] ?? 0)
      if (pending.some(({ length }) => length > 0)) readPages(join(to, 'pages'))
    },
  }
}

/** Milliseconds with three places, always as wide. */
const STAMP = 20
const stamp = (time: number): string => time.toFixed(3).padStart(STAMP)

/** @returns bytes read; 0 while there is no such file */
function readAt(path: string, buffer: Buffer, position: number): number {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch {
    return 0
  }
  try {
    return readSync(file, buffer, 0, buffer.length, position)
  } finally {
    closeSync(file)
  }
}
