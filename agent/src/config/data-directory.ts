import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'

/** Names of the agent's own files. */
export interface DataDirectory {
  readonly enrolment: string
  readonly identity: string
  readonly role: string
  /** How this instance has voted. */
  readonly voter: string
  readonly replication: string
  /** There while a restore has not ended. */
  readonly restore: string
  readonly record: string
  /** Samples of a replica that the coordinator does not have yet. */
  readonly prices: string
  readonly statusSocket: string
  /** Gives the directory free for another agent. */
  unlock(): void
}

/**
 * Makes the directory the agent's own. Two agents on one directory would both believe that they are the instance.
 * @throws AppError `conflict` when a running agent has it, `config_invalid` when it cannot be used
 */
export function openDataDirectory(path: string): DataDirectory {
  const lock = join(path, 'agent.lock')
  try {
    makeDirectories(path)
    takeLock(lock, path)
  } catch (error) {
    if (error instanceof AppError) throw error
    throw new AppError('config_invalid', `the data directory ${path} cannot be used (${messageOf(error)})`, {
      hint: 'Set data_dir to a directory that the agent may write, on the same file system as the state.',
      cause: error,
    })
  }
  return {
    enrolment: enrolmentIn(path),
    identity: identityIn(path),
    role: join(path, 'role.json'),
    voter: join(path, 'voter.json'),
    replication: join(path, 'replication'),
    restore: join(path, 'restore.json'),
    record: recordIn(path),
    prices: join(path, 'prices.jsonl'),
    statusSocket: statusSocketOf(path),
    unlock: () => rmSync(lock, { force: true }),
  }
}

/** Node's own recursive mkdir never returns where a name can neither be found nor made, as in /proc. */
function makeDirectories(path: string): void {
  if (existsSync(path)) return
  if (dirname(path) !== path) makeDirectories(dirname(path))
  mkdirSync(path, { mode: 0o700 })
}

export const enrolmentIn = (dataDirectory: string): string => join(dataDirectory, 'enrolment.json')
export const recordIn = (dataDirectory: string): string => join(dataDirectory, 'record')
export const identityIn = (dataDirectory: string): string => join(dataDirectory, 'identity.json')
export const statusSocketOf = (dataDirectory: string): string => join(dataDirectory, 'agent.sock')

function takeLock(lock: string, directory: string): void {
  for (let tries = 0; tries < 2; tries += 1) {
    try {
      const file = openSync(lock, 'wx', 0o600)
      writeSync(file, identityOf(process.pid))
      closeSync(file)
      return
    } catch (error) {
      if (systemCodeOf(error) !== 'EEXIST') throw error
      const holder = readFileSync(lock, 'utf8')
      const pid = Number.parseInt(holder, 10)
      if (Number.isInteger(pid) && pid !== process.pid && identityOf(pid) === holder)
        throw new AppError(
          'conflict',
          `another agent (process ${pid}) uses the data directory ${directory}`,
          {
            hint: 'Stop it first, or give this one a data_dir of its own.',
          },
        )
      // Its process has ended, or the machine was restarted and another program has its number.
      rmSync(lock, { force: true })
    }
  }
  throw new AppError('conflict', `the data directory ${directory} is being taken by another agent`)
}

/** Process number and start time: the number alone is used again after a restart. Empty when it does not run. */
function identityOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    return `${pid} ${startTime}`
  } catch {
    return ''
  }
}
