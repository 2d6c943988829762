import { AppError } from '@understudy/shared/core/app-error'
import { agentId as asAgentId, instanceId as asInstanceId } from '@understudy/shared/core/ids'
import type { EnrolRequest, EnrolResponse } from '@understudy/shared/protocol/enrolment'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import { type Cloud, hasEnded } from '../cloud/cloud.ts'
import type { Credentials } from './credentials.ts'
import type { FleetStore } from './fleet-store.ts'
import type { IdentityVerifier, ProvenIdentity } from './identity-document.ts'

/** Uses up a join token. */
export type JoinTokenUse = (
  token: string,
  instanceId: string,
) => Promise<{ agentId: string; replicaId: string | null; instanceId: string | null }>

export interface EnrolmentPorts {
  readonly store: FleetStore
  readonly credentials: Credentials
  readonly verify: IdentityVerifier
  readonly useJoinToken: JoinTokenUse
  readonly cloud: Cloud
  /** Tells who runs failovers that an instance has come. */
  readonly onEnrolled: (joined: {
    agentId: string
    instanceId: string
    replicaId: string | null
  }) => Promise<void>
}

/**
 * Lets an instance in: its identity document is signed by AWS, its join token is unused, it runs in our cloud, and
 * nobody has claimed it before. The order matters: nothing is used up by a caller who proves nothing.
 * @throws AppError `unauthenticated`, `conflict`, `protocol`, `input_invalid`
 */
export async function enrol(request: EnrolRequest, ports: EnrolmentPorts): Promise<EnrolResponse> {
  const { store, credentials, verify, useJoinToken, cloud, onEnrolled } = ports
  if (request.protocol !== PROTOCOL_VERSION)
    throw new AppError(
      'protocol',
      `this coordinator speaks protocol ${PROTOCOL_VERSION}, the agent ${request.protocol}`,
      {
        hint: 'Install the agent of the same version as the coordinator.',
      },
    )
  const identity = verify(request.identity.document, request.identity.signature)
  await assertRunning(cloud, identity)
  const id = asInstanceId(identity.instanceId)
  const known = await store.instance(id)
  const token = await useJoinToken(request.join_token, id)
  const agentId = asAgentId(token.agentId)
  const agent = await store.mustAgent(agentId)
  if (known && token.instanceId !== id)
    throw new AppError(
      'conflict',
      `the instance ${id} has enrolled before, for the agent ${known.agent_id}`,
      {
        hint: `If its agent has lost its data directory, let it in again with: coordinator token join --agent ${known.agent_id} --instance ${id}`,
      },
    )
  if (known && known.agent_id !== agentId)
    throw new AppError(
      'conflict',
      `the instance ${id} belongs to the agent ${known.agent_id}, not to ${agentId}`,
    )
  if (agent.state_directories === 0) await store.setStateDirectories(agentId, request.state_directories)
  else if (agent.state_directories !== request.state_directories)
    throw new AppError(
      'conflict',
      `the agent ${agentId} protects ${agent.state_directories} state directories, this instance is set up for ${request.state_directories}`,
      { hint: 'Use the same workload.state on every instance of an agent.' },
    )
  if (!known) {
    await store.addInstance({
      id,
      agentId,
      pool: identity.pool,
      accountId: identity.accountId,
      lifeCycle: request.life_cycle ?? 'unknown',
      privateIp: identity.privateIp,
      launchedAt: identity.launchedAt,
    })
    if (agent.instance_id === null && request.settings) await store.patchSettings(agentId, request.settings)
  }
  // It was let go, and is let in again.
  if (known && known.terminated_at !== null)
    await store.patchInstance(id, { retired: 0, terminated_at: null, notice_at: null })
  // One that has come in before accounts were written down.
  if (known && known.account_id === null && identity.accountId !== null)
    await store.patchInstance(id, { account_id: identity.accountId })
  const { credential, expiresAt } = await credentials.issue(id)
  await onEnrolled({ agentId, instanceId: id, replicaId: token.replicaId })
  return {
    agent_id: agentId,
    instance_id: id,
    role: token.replicaId === null && agent.instance_id === null ? 'primary' : 'replica',
    replica_id: token.replicaId,
    credential,
    credential_expires_at: new Date(expiresAt).toISOString(),
  }
}

/** An identity document outlives its instance: where the cloud can be asked, it has to know the instance. */
async function assertRunning(cloud: Cloud, { instanceId }: ProvenIdentity): Promise<void> {
  if (cloud.kind === 'manual') return
  const described = await cloud.describe(asInstanceId(instanceId), AbortSignal.timeout(5000))
  if (described && !hasEnded(described)) return
  throw new AppError('unauthenticated', `the cloud knows no running instance ${instanceId}`, {
    hint: 'The document may be of an instance that has ended.',
  })
}
