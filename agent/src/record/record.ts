import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { createSerial } from '@understudy/shared/core/serial'
import type { Clock } from '@understudy/shared/core/time'
import type { Member } from '@understudy/shared/failover/member-types'
import type { Logger } from 'pino'
import type { AgentConfig } from '../config/options.ts'
import { openPriceQueue } from '../market/price-queue.ts'
import { writeDurably } from '../replication/copy-mark.ts'
import {
  CONFIG,
  PRICES,
  type RecordedConfig,
  type RecordView,
  readRecord,
  readSwitches,
  SWITCHES,
} from './record-files.ts'
import { boundedSwitches, type Switch, toLines } from './record-lines.ts'
import type { AgentRecord } from './record-types.ts'
import { sharedConfig } from './shared-config.ts'
import { mayWrite, switchOf } from './switches.ts'

export { printRecord } from './print-record.ts'
export { readRecord } from './record-files.ts'
export type { Switch } from './record-lines.ts'
export { switchSchema } from './record-lines.ts'
export type { AgentRecord } from './record-types.ts'
export { type RoleReplication, withRecord } from './with-record.ts'

export interface RecordOptions {
  readonly directory: string
  readonly self: InstanceId
  readonly config: AgentConfig
  readonly version: string
  readonly clock: Clock
  readonly log: Logger
}

/** The changes of primary in short, for the status. @throws AppError `state_unreadable` */
export function recordStatus(record: AgentRecord): { switches: number; last_switch: Switch | null } {
  const changes = record.read().switches.filter(({ kind }) => kind === 'primary')
  return { switches: changes.length, last_switch: changes.at(-1) ?? null }
}

/** @throws AppError `config_invalid` when the directory cannot be made */
export function openRecord({ directory, self, config, version, clock, log }: RecordOptions): AgentRecord {
  makeDirectory(directory)
  const serial = createSerial()
  let last: Member | undefined

  async function write(name: string, text: string): Promise<void> {
    const path = join(directory, name)
    try {
      // Whatever came with the stream under this name is not written through.
      await rm(`${path}.next`, { force: true })
      await writeDurably(path, text)
    } catch (error) {
      log.warn({ event: 'record.not_written', file: path, why: messageOf(error) })
    }
  }

  const writeSwitches = (switches: readonly Switch[]) => write(SWITCHES, toLines(boundedSwitches(switches)))
  const writeConfig = (recorded: RecordedConfig) => write(CONFIG, `${JSON.stringify(recorded, null, 2)}\n`)

  const prices = openPriceQueue({
    path: join(directory, PRICES),
    isOpen: () => mayWrite(last),
    write: serial,
    clock,
    log,
  })

  const read = (): RecordView => readRecord(directory, clock.now())

  /** What cannot be read counts as not there: the record never keeps the workload from going on. */
  function known(): readonly Switch[] {
    try {
      return readSwitches(directory)
    } catch (error) {
      log.warn({ event: 'record.not_read', why: messageOf(error) })
      return []
    }
  }

  async function append(entry: Switch): Promise<void> {
    if (!mayWrite(last)) return
    await writeSwitches([...known(), entry])
    if (entry.kind !== 'primary') return
    const { epoch, instance, at } = entry
    const schema = 'understudy.agent-config/v1'
    await writeConfig({ schema, epoch, instance, at, version, config: sharedConfig(config) })
  }

  return {
    directory,
    read,
    prices,
    onRole(member) {
      const entry = switchOf(last, member, self, clock.now())
      const opens = mayWrite(member) && !mayWrite(last)
      last = member
      if (opens) prices.reload()
      if (entry) void serial(() => append(entry))
    },
    still: (task) => serial(task),
  }
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return
    throw new AppError('config_invalid', `${path} cannot be made (${messageOf(error)})`, {
      hint: 'data_dir must be a directory that the agent may write.',
      cause: error,
    })
  }
}
