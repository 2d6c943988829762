import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { millis } from '@understudy/shared/core/time'
import type { Certificate, Proposal } from '@understudy/shared/failover/certificate'
import { defaultLeasePolicy, type LeasePolicy } from '@understudy/shared/failover/lease'
import type { VoterRecord } from '@understudy/shared/failover/voter-types'
import {
  newVoterKey,
  readVoterKey,
  type VoterKey,
  voterKeyPem,
} from '@understudy/shared/protocol/vote-signing'
import {
  list,
  positive,
  readCertificate,
  readInstance,
  readKey,
  readProposal,
  record,
  whole,
} from './plain-messages.ts'
import { createReservedFile } from './reserved-file.ts'

/** What a voter must know after a restart. */
export interface VoterMemory {
  /** undefined for one that has never voted nor known a certificate. */
  readonly record: VoterRecord | undefined
  /** The highest number of a start that a coordinator has told. */
  readonly coordinatorStart: number
  /** What was told with it, for the coordinator to know it again; '' for none. */
  readonly coordinatorStartProof: string
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

/** As it is in the file: JSON has no undefined. */
interface Stored {
  readonly instance: InstanceId
  /** PKCS #8. */
  readonly privateKey: string
  readonly record: {
    readonly certificate: Certificate | null
    readonly chain: readonly Certificate[]
    readonly voted: { readonly epoch: number; readonly primary: InstanceId | null; readonly digest: string }
    readonly pending: Proposal | null
    readonly resigned: number
  } | null
  readonly coordinatorStart: number
  readonly coordinatorStartProof: string
  readonly coordinatorKey: string | null
  readonly policy: LeasePolicy
}

const MAX_CHAIN = 1000

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
    coordinatorStartProof: '',
    coordinatorKey: undefined,
    policy: defaultLeasePolicy,
  }
  const file = createReservedFile(path)
  const write = () => file.replace(toText(instance, key, memory))
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
    const { checksum, state } = record(JSON.parse(readFileSync(path, 'utf8')))
    if (checksum !== checksumOf(JSON.stringify(state))) throw new Error('its checksum does not fit')
    const stored = record(state)
    const owner = readInstance(stored.instance)
    if (owner !== instance) throw new Error(`it belongs to ${owner}`)
    return {
      key: readVoterKey(String(stored.privateKey)),
      memory: {
        record: orUndefined(stored.record, readRecord),
        coordinatorStart: whole(stored.coordinatorStart),
        coordinatorStartProof: String(stored.coordinatorStartProof ?? ''),
        coordinatorKey: orUndefined(stored.coordinatorKey, readKey),
        policy: readPolicy(stored.policy),
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

function readRecord(value: unknown): VoterRecord {
  const { certificate, chain, voted, pending, resigned } = record(value)
  const { epoch, primary, digest } = record(voted)
  return {
    certificate: orUndefined(certificate, readCertificate),
    chain: list(chain, 0, MAX_CHAIN, readCertificate),
    voted: { epoch: whole(epoch), primary: orUndefined(primary, readInstance), digest: String(digest) },
    pending: orUndefined(pending, readProposal),
    resigned: whole(resigned),
  }
}

function readPolicy(value: unknown): LeasePolicy {
  const { heartbeat, lease, drift, fenceBudget } = record(value)
  return {
    heartbeat: millis(positive(heartbeat)),
    lease: millis(positive(lease)),
    drift: positive(drift),
    fenceBudget: millis(positive(fenceBudget)),
  }
}

const orUndefined = <T>(value: unknown, read: (value: unknown) => T): T | undefined =>
  value === null ? undefined : read(value)

function toText(instance: InstanceId, key: VoterKey, memory: VoterMemory): string {
  const { record: kept, coordinatorStart, coordinatorStartProof, coordinatorKey, policy } = memory
  const state: Stored = {
    instance,
    privateKey: voterKeyPem(key),
    record: kept
      ? {
          certificate: kept.certificate ?? null,
          chain: kept.chain,
          voted: { ...kept.voted, primary: kept.voted.primary ?? null },
          pending: kept.pending ?? null,
          resigned: kept.resigned,
        }
      : null,
    coordinatorStart,
    coordinatorStartProof,
    coordinatorKey: coordinatorKey ?? null,
    policy,
  }
  return JSON.stringify({ checksum: checksumOf(JSON.stringify(state)), state })
}

/** Against torn and mixed up bytes. */
const checksumOf = (text: string): string => createHash('sha256').update(text).digest('hex')
