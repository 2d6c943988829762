import { createHash } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { defaultLeasePolicy, type LeasePolicy } from '@understudy/shared/failover/lease'
import type { VoterRecord } from '@understudy/shared/failover/voter-types'
import {
  countSchema,
  epochSchema,
  instanceIdSchema,
  millisSchema,
} from '@understudy/shared/protocol/primitives'
import {
  newVoterKey,
  readVoterKey,
  type VoterKey,
  voterKeyPem,
} from '@understudy/shared/protocol/vote-signing'
import { certificateSchema, proposalSchema, voterKeySchema } from '@understudy/shared/protocol/voter-messages'
import { z } from 'zod'
import { toWire } from './wire.ts'

/** What a voter must know after a restart. */
export interface VoterMemory {
  /** undefined for one that has never voted nor known a certificate. */
  readonly record: VoterRecord | undefined
  /** The highest number of a start that a coordinator has told. */
  readonly coordinatorStart: number
  /** Whose votes count as the coordinator's; the first that was told. */
  readonly coordinatorKey: string | undefined
  /** The terms that promises were given by. */
  readonly policy: LeasePolicy
}

export interface VoterFile {
  readonly key: VoterKey
  readonly memory: VoterMemory
  /**
   * On disk when it returns; it blocks, because nothing may happen before.
   * @throws Error from the system: then nothing that follows may be done
   */
  save(patch: Partial<VoterMemory>): void
}

const stateSchema = z.object({
  instance: instanceIdSchema,
  /** PKCS #8. */
  privateKey: z.string(),
  record: z
    .object({
      certificate: certificateSchema.nullable(),
      chain: z.array(certificateSchema),
      voted: z.object({
        epoch: epochSchema,
        primary: instanceIdSchema.nullable(),
        digest: z.string(),
      }),
      pending: proposalSchema.nullable(),
      resigned: epochSchema,
    })
    .nullable(),
  coordinatorStart: countSchema,
  coordinatorKey: voterKeySchema.nullable(),
  policy: z.object({
    heartbeat: millisSchema,
    lease: millisSchema,
    drift: z.number(),
    fenceBudget: millisSchema,
  }),
})
type Stored = z.input<typeof stateSchema>

const fileSchema = z.object({ checksum: z.string(), state: z.unknown() })

/**
 * Opens `<data_dir>/voter.json`, or makes it with a new key.
 * @throws AppError `state_unreadable` when it is there and is damaged, or another instance's: a voter that does not
 * know how it has voted could vote twice
 */
export function openVoterFile(path: string, instance: InstanceId): VoterFile {
  const known = read(path, instance)
  const key = known?.key ?? newVoterKey()
  let memory: VoterMemory = known?.memory ?? {
    record: undefined,
    coordinatorStart: 0,
    coordinatorKey: undefined,
    policy: defaultLeasePolicy,
  }
  const write = () => replaceDurably(path, toText(instance, key, memory))
  if (!known) write()
  return {
    key,
    get memory() {
      return memory
    },
    save(patch) {
      memory = { ...memory, ...patch }
      write()
    },
  }
}

function read(path: string, instance: InstanceId): { key: VoterKey; memory: VoterMemory } | undefined {
  try {
    const { checksum, state } = fileSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
    if (checksum !== checksumOf(JSON.stringify(state))) throw new Error('its checksum does not fit')
    const stored = stateSchema.parse(state)
    if (stored.instance !== instance) throw new Error(`it belongs to ${stored.instance}`)
    const { record } = stored
    return {
      key: readVoterKey(stored.privateKey),
      memory: {
        record: record
          ? {
              certificate: record.certificate ?? undefined,
              chain: record.chain,
              voted: { ...record.voted, primary: record.voted.primary ?? undefined },
              pending: record.pending ?? undefined,
              resigned: record.resigned,
            }
          : undefined,
        coordinatorStart: stored.coordinatorStart,
        coordinatorKey: stored.coordinatorKey ?? undefined,
        policy: stored.policy,
      },
    }
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw new AppError('state_unreadable', `${path} cannot be read (${messageOf(error).slice(0, 200)})`, {
      hint: 'It says how this instance has voted; without it the agent must not run. Put it back as it was, or remove the whole data directory and enrol again.',
      cause: error,
    })
  }
}

function toText(instance: InstanceId, key: VoterKey, memory: VoterMemory): string {
  const { record, coordinatorStart, coordinatorKey, policy } = memory
  const state: Stored = {
    instance,
    privateKey: voterKeyPem(key),
    record: record
      ? {
          certificate: record.certificate ? toWire(record.certificate) : null,
          chain: record.chain.map(toWire),
          voted: { ...record.voted, primary: record.voted.primary ?? null },
          pending: record.pending ?? null,
          resigned: record.resigned,
        }
      : null,
    coordinatorStart,
    coordinatorKey: coordinatorKey ?? null,
    policy,
  }
  return JSON.stringify({ checksum: checksumOf(JSON.stringify(state)), state })
}

/** Against torn and mixed up bytes. */
const checksumOf = (text: string): string => createHash('sha256').update(text).digest('hex')

/** A crash leaves the old file or the new one, and once it returns the new one. */
function replaceDurably(path: string, text: string): void {
  const next = `${path}.next`
  const file = openSync(next, 'w', 0o600)
  try {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(next, path)
  const directory = openSync(dirname(path), 'r')
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}
