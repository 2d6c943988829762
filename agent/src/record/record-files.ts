import { join } from 'node:path'
import type { Instant } from '@understudy/shared/core/time'
import { epochSchema, instanceIdSchema, timeSchema } from '@understudy/shared/protocol/primitives'
import { z } from 'zod'
import { lastHour, type PriceSample, parsePrices } from '../market/price-lines.ts'
import { readEnd } from '../replication/read-end.ts'
import { boundedSwitches, parseSwitches, type Switch } from './record-lines.ts'

export interface RecordView {
  /** Oldest first. */
  readonly switches: readonly Switch[]
  /** Of the last hour; older ones that wait for the coordinator are left out. */
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
const MAX_FILE_BYTES = 5 * 1024 * 1024

/** What is there, as far as it can be understood; empty where nothing is. @throws AppError `state_unreadable` */
export function readRecord(directory: string, now: Instant): RecordView {
  const read = (name: string) => readEnd(join(directory, name), MAX_FILE_BYTES)
  return {
    switches: readSwitches(directory),
    prices: lastHour(parsePrices(read(PRICES)), now),
    config: parseConfig(read(CONFIG)),
  }
}

/** The changes alone: what an hour of prices costs to read is not paid in the middle of a move. */
export const readSwitches = (directory: string): Switch[] =>
  boundedSwitches(parseSwitches(readEnd(join(directory, SWITCHES), MAX_FILE_BYTES)))

function parseConfig(text: string): RecordedConfig | undefined {
  try {
    return recordedConfigSchema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}
