import { AppError, isAppError } from '@understudy/shared/core/app-error'
import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { CertificateRequest, CoordinatorMessage } from '@understudy/shared/protocol/link'
import type { MemberIdentity } from '@understudy/shared/protocol/member-identity'
import type { Logger } from 'pino'
import type { InstanceRow } from '../storage/database.ts'
import type { Authority } from './authority.ts'

/** Answers one request that came over the link of that instance; resolves once it is answered. */
export type CertificateRequests = (
  agentId: AgentId,
  instance: InstanceId,
  request: CertificateRequest,
) => Promise<void>

/** Only members in good standing get one, however long their link stays open. */
export function createCertificateRequests(parts: {
  readonly authority: Authority
  /** Instances as they stand now. */
  readonly fleet: {
    instance(id: InstanceId): Promise<Pick<InstanceRow, 'agent_id' | 'retired' | 'terminated_at'> | undefined>
  }
  readonly log: Logger
  readonly send: (instance: InstanceId, message: CoordinatorMessage) => boolean
}): CertificateRequests {
  const { authority, fleet, log, send } = parts

  async function issue(member: MemberIdentity, request: CertificateRequest): Promise<CoordinatorMessage> {
    const row = await fleet.instance(member.instance)
    if (!row || row.agent_id !== member.agent || row.retired === 1 || row.terminated_at !== null)
      throw new AppError('forbidden', `${member.instance} is not an instance of ${member.agent} any more`, {
        hint: `Let it in again with: coordinator token join --agent ${member.agent} --instance ${member.instance}`,
      })
    const { certificate, serial, expiresAt } = await authority.issue(member, request)
    log.info({ event: 'certificate.issued', ...member, serial, expires: expiresAt.toISOString() })
    return { type: 'certificate', certificate, authority: [...authority.certificates] }
  }

  return async (agent, instance, request) => {
    try {
      send(instance, await issue({ agent, instance }, request))
    } catch (error) {
      if (isAppError(error))
        log.warn({ event: 'certificate.refused', agent, instance, code: error.code, why: error.message })
      else log.error({ event: 'certificate.failed', agent, instance, err: error })
      send(instance, toRefusal(error))
    }
  }
}

const toRefusal = (error: unknown): CoordinatorMessage =>
  isAppError(error)
    ? {
        type: 'certificate-refused',
        code: error.code,
        message: error.message.slice(0, 500),
        ...(error.hint === undefined ? {} : { hint: error.hint.slice(0, 500) }),
      }
    : {
        type: 'certificate-refused',
        code: 'internal',
        message: 'the coordinator could not issue a certificate',
        hint: 'The log of the coordinator has the reason under certificate.failed.',
      }
