import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { Clock } from '@understudy/shared/core/time'
import type { Degradation } from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import { writeDurably } from '../replication/copy-mark.ts'
import { readEnd } from '../replication/read-end.ts'
import {
  boundedPrices,
  MOST_SAMPLES,
  type PriceSample,
  parsePrices,
  toPriceLines,
  waits,
} from './price-lines.ts'

/** No line is longer than this, so a file of all that is kept is read as a whole. */
const MOST_BYTES = MOST_SAMPLES * 256

/**
 * Samples on disk until the coordinator has them, and for an hour after. New ones are appended; a file that has been
 * damaged, or holds much that is not kept any more, is replaced as a whole. Memory is what counts: a disk that is full
 * or fails costs only what a crash would lose until it can be written again.
 */
export interface PriceQueue {
  /** How many wait. */
  readonly size: number
  /** When the oldest of them was taken; undefined when none waits. */
  readonly since: string | undefined
  /** How many were dropped since the start, because they were too old or too many. */
  readonly dropped: number
  /** Why it is not on disk; undefined when it is. */
  readonly degraded: Degradation | undefined
  /** Reads the file again: somebody else has written it. What cannot be read counts as not there. */
  reload(): void
  /** Never throws; what cannot be written is kept in memory and told. */
  add(samples: readonly PriceSample[]): Promise<void>
  /** The oldest that wait. */
  waiting(most: number): readonly PriceSample[]
  /** The coordinator has them. On disk that is so after `save`; until then they would be sent once more. */
  settle(samples: readonly PriceSample[]): void
  save(): Promise<void>
}

export interface PriceQueueParts {
  readonly path: string
  /** Whether this instance may write it. While it may not, the queue is empty and nothing is added. */
  readonly isOpen: () => boolean
  /** Runs what writes; one thing at a time. */
  readonly write: (task: () => Promise<void>) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

export function openPriceQueue({ path, isOpen, write, clock, log }: PriceQueueParts): PriceQueue {
  let kept: PriceSample[] = []
  /** Of the file, as it was left; -1 when it has to be replaced. */
  let bytes = -1
  let lines = 0
  let dropped = 0
  let degraded: Degradation | undefined

  function keep(samples: readonly PriceSample[]): void {
    const bounded = boundedPrices(samples, clock.now())
    if (bounded.dropped > 0) log.warn({ event: 'prices.dropped', samples: bounded.dropped })
    kept = bounded.kept
    dropped += bounded.dropped
  }

  async function append(text: string): Promise<void> {
    const { O_WRONLY, O_APPEND, O_NOFOLLOW } = constants
    const file = await open(path, O_WRONLY | O_APPEND | O_NOFOLLOW)
    try {
      const stats = await file.stat()
      if (!stats.isFile() || stats.size !== bytes) throw new Error('the file was changed')
      await file.appendFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
  }

  async function replace(): Promise<void> {
    const text = toPriceLines(kept)
    const count = kept.length
    // Whatever came with the stream under this name is not written through.
    await rm(`${path}.next`, { force: true })
    await writeDurably(path, text)
    bytes = Buffer.byteLength(text)
    lines = count
  }

  async function store(added: readonly PriceSample[]): Promise<void> {
    const text = toPriceLines(added)
    const outgrown = lines + added.length > 2 * kept.length + 100
    try {
      if (bytes < 0 || outgrown) return await replace()
      await append(text)
      bytes += Buffer.byteLength(text)
      lines += added.length
    } catch (error) {
      if (bytes < 0 || outgrown) throw error
      bytes = -1
      await replace()
    }
  }

  const persist = (added: readonly PriceSample[]): Promise<void> =>
    write(async () => {
      if (!isOpen()) return
      try {
        await store(added)
        if (degraded) log.info({ event: 'prices.written_again', file: path })
        degraded = undefined
      } catch (error) {
        bytes = -1
        if (!degraded) log.warn({ event: 'prices.not_written', file: path, why: messageOf(error) })
        degraded = notKept(path, error)
      }
    })

  return {
    get size() {
      return isOpen() ? kept.filter(waits).length : 0
    },
    get since() {
      return isOpen() ? kept.find(waits)?.at : undefined
    },
    get dropped() {
      return dropped
    },
    get degraded() {
      return isOpen() ? degraded : undefined
    },
    reload() {
      let text = ''
      try {
        text = readEnd(path, MOST_BYTES)
      } catch (error) {
        log.warn({ event: 'prices.not_read', file: path, why: messageOf(error) })
      }
      const parsed = parsePrices(text)
      keep(parsed)
      const whole = text !== '' && text.endsWith('\n') && text.split('\n').length - 1 === parsed.length
      bytes = whole ? Buffer.byteLength(text) : -1
      lines = parsed.length
    },
    async add(samples) {
      if (!isOpen() || samples.length === 0) return
      keep([...kept, ...samples])
      await persist(samples)
    },
    waiting(most) {
      const found: PriceSample[] = []
      if (!isOpen()) return found
      for (const sample of kept) {
        if (found.length >= most) break
        if (waits(sample)) found.push(sample)
      }
      return found
    },
    settle(samples) {
      const settled = new Set(samples)
      kept = kept.map((sample) => (settled.has(sample) ? { ...sample, sent: true } : sample))
      bytes = -1
    },
    async save() {
      if (!isOpen() || bytes >= 0) return
      keep(kept)
      await persist([])
    },
  }
}

const notKept = (path: string, error: unknown): Degradation => ({
  code: 'prices_not_kept',
  message:
    `prices that wait for the coordinator cannot be written to ${path} (${systemCodeOf(error) ?? messageOf(error)})`.slice(
      0,
      500,
    ),
  hint: 'Free space on the disk of data_dir; until then they are in memory only.',
})
