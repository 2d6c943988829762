import { existsSync, readFileSync } from 'node:fs'
import { AppError, messageOf } from '@understudy/shared/core/app-error'
import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import { type Clock, millis, sleep } from '@understudy/shared/core/time'
import { type EnrolRequest, enrolResponseSchema } from '@understudy/shared/protocol/enrolment'
import { agentIdSchema, instanceIdSchema } from '@understudy/shared/protocol/primitives'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import type { Logger } from 'pino'
import { z } from 'zod'
import { type KeptOnDisk, keepOnDisk } from '../config/kept-on-disk.ts'
import type { ImdsClient } from '../imds/imds-client.ts'
import { type InstanceIdentity, parseIdentity } from '../imds/imds-documents.ts'
import { writeDurably } from '../replication/copy-mark.ts'
import { postJson } from './http.ts'

const BACKOFF: BackoffPolicy = { base: millis(250), cap: millis(15_000) }

const enrolmentSchema = z.object({
  agentId: agentIdSchema,
  instanceId: instanceIdSchema,
  credential: z.string(),
  privateIp: z.string().nullable(),
})

/** Who this instance is to the coordinator. The file is readable by the agent's user only. */
export interface Enrolment {
  readonly agentId: AgentId
  readonly instanceId: InstanceId
  readonly credential: string
  readonly privateIp: string | null
}

/** undefined before the first enrolment. @throws AppError `state_unreadable` */
export function readEnrolment(path: string): Enrolment | undefined {
  if (!existsSync(path)) return undefined
  try {
    return enrolmentSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    throw new AppError('state_unreadable', `${path} cannot be read (${messageOf(error)})`, {
      hint: 'Remove it to enrol again with a new join token.',
      cause: error,
    })
  }
}

export const saveEnrolment = (path: string, enrolment: Enrolment): Promise<void> =>
  writeDurably(path, JSON.stringify(enrolment))

/** Takes credentials that the coordinator has renewed: it does not know the one before for long. */
export const keepCredential = (
  path: string,
  enrolment: Enrolment,
  clock: Clock,
  log: Logger,
): KeptOnDisk<string> =>
  keepOnDisk({
    what: 'the renewed credential',
    write: (credential) => saveEnrolment(path, { ...enrolment, credential }),
    clock,
    log,
  })

export interface EnrolmentRequest {
  readonly coordinatorUrl: string
  readonly joinToken: string | undefined
  readonly stateDirectories: number
  readonly settings: NonNullable<EnrolRequest['settings']>
  readonly agentVersion: string
  readonly imds: ImdsClient
}

/**
 * Proves who this instance is by its signed identity document and a join token.
 * @throws AppError of the metadata service or the coordinator; `config_invalid` without a token
 */
async function enrol(request: EnrolmentRequest, signal: AbortSignal): Promise<Enrolment> {
  const { coordinatorUrl, joinToken, stateDirectories, settings, agentVersion, imds } = request
  if (!joinToken)
    throw new AppError('config_invalid', 'this instance has not enrolled yet and there is no join token', {
      hint: 'Create one with `coordinator token join --agent <id>` and set JOIN_TOKEN or JOIN_TOKEN_FILE.',
    })
  const { document, signature, identity } = await readIdentity(imds, signal)
  const lifeCycle = await imds.get('meta-data/instance-life-cycle', signal)
  const body: EnrolRequest = {
    join_token: joinToken,
    identity: { document, signature },
    ...(lifeCycle ? { life_cycle: lifeCycle.trim() } : {}),
    state_directories: stateDirectories,
    settings,
    agent_version: agentVersion,
    protocol: PROTOCOL_VERSION,
  }
  const answer = enrolResponseSchema.parse(
    await postJson(`${coordinatorUrl.replace(/\/+$/, '')}/api/agents/enroll`, body),
  )
  return {
    agentId: answer.agent_id,
    instanceId: answer.instance_id,
    credential: answer.credential,
    privateIp: identity.privateIp ?? null,
  }
}

/** Enrols, trying again for ever where that can help. Throws what only a person can change. */
export async function enrolUntilDone(
  request: EnrolmentRequest,
  clock: Clock,
  random: Random,
  log: Logger,
  signal: AbortSignal,
): Promise<Enrolment> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await enrol(request, signal)
    } catch (error) {
      if (signal.aborted || !(error instanceof AppError && error.retryable)) throw error
      log.warn({ event: 'enrolment.retry', attempt, why: error.message, hint: error.hint })
      await sleep(clock, fullJitter(BACKOFF, attempt, random), signal)
    }
  }
}

async function readIdentity(
  imds: ImdsClient,
  signal: AbortSignal,
): Promise<{ document: string; signature: string; identity: InstanceIdentity }> {
  const document = await imds.get('dynamic/instance-identity/document', signal)
  const signature = await imds.get('dynamic/instance-identity/signature', signal)
  const identity = document === undefined ? undefined : parseIdentity(document)
  if (document === undefined || signature === undefined || !identity)
    throw new AppError('imds_unusable', 'the metadata service has no signed instance identity document', {
      hint: 'Only EC2 instances (and the simulator) have one; check IMDS_ENDPOINT.',
    })
  return { document, signature: signature.replace(/\s+/g, ''), identity }
}
