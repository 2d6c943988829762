import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { Instant } from '@understudy/shared/core/time'
import { epochSchema, instanceIdSchema, timeSchema } from '@understudy/shared/protocol/primitives'
import { z } from 'zod'
import {
  boundedPrices,
  boundedSwitches,
  type PriceSample,
  parsePrices,
  parseSwitches,
  type Switch,
} from './record-lines.ts'

export interface RecordView {
  /** Oldest first. */
  readonly switches: readonly Switch[]
  readonly prices: readonly PriceSample[]
  readonly config: RecordedConfig | undefined
}

const recordedConfigSchema = z.object({
  schema: z.literal('understudy.agent-config/v1'),
  /** The epoch at whose beginning it was written, by which instance, and when. */
  epoch: epochSchema,
  instance: instanceIdSchema,
  at: timeSchema,
  version: z.string(),
  config: z.record(z.string(), z.unknown()),
})
export type RecordedConfig = z.infer<typeof recordedConfigSchema>

export const CONFIG = 'config.json'
export const SWITCHES = 'switches.jsonl'
export const PRICES = 'prices.jsonl'
/** More than any of the files can have; of a longer one the end is read. */
const MAX_FILE_BYTES = 4 * 1024 * 1024

/** What is there, as far as it can be understood; empty where nothing is. @throws AppError `state_unreadable` */
export function readRecord(directory: string, now: Instant): RecordView {
  return {
    switches: boundedSwitches(parseSwitches(readEnd(join(directory, SWITCHES)))),
    prices: boundedPrices(parsePrices(readEnd(join(directory, PRICES))), now),
    config: parseConfig(readEnd(join(directory, CONFIG))),
  }
}

function parseConfig(text: string): RecordedConfig | undefined {
  try {
    return recordedConfigSchema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

/** The end of a small file; empty when there is none, or something else in its place. */
function readEnd(path: string): string {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR') return ''
    throw new AppError('state_unreadable', `${path} cannot be read (${code ?? messageOf(error)})`, {
      hint: 'It belongs to the user that the agent runs as: run the command as that user, mostly root.',
      cause: error,
    })
  }
  try {
    const stats = fstatSync(file)
    if (!stats.isFile()) return ''
    const length = Math.min(stats.size, MAX_FILE_BYTES)
    const buffer = Buffer.alloc(length)
    const read = readSync(file, buffer, 0, length, stats.size - length)
    return buffer.toString('utf8', 0, read)
  } finally {
    closeSync(file)
  }
}
