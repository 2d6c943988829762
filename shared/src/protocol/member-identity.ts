import { AGENT_ID_PATTERN, type AgentId, INSTANCE_ID_PATTERN, type InstanceId } from '../core/ids.ts'
import { minutes } from '../core/time.ts'

/** Who an instance is to its peers: what its certificate says, and nothing beside it. */
export interface MemberIdentity {
  readonly agent: AgentId
  readonly instance: InstanceId
}

/** A certificate is valid from this long before it was issued, because clocks differ. */
export const CERTIFICATE_BACKDATE = minutes(10)

/** The only name in a member's certificate, as the URI of its subject alternative name. */
export const memberUri = ({ agent, instance }: MemberIdentity): string => `understudy://${agent}/${instance}`

/** Exactly what `memberUri` writes; undefined for anything else. */
export function parseMemberUri(uri: string): MemberIdentity | undefined {
  const [, agent = '', instance = ''] = /^understudy:\/\/([^/]+)\/([^/]+)$/.exec(uri) ?? []
  if (!AGENT_ID_PATTERN.test(agent) || !INSTANCE_ID_PATTERN.test(instance)) return undefined
  return { agent: agent as AgentId, instance: instance as InstanceId }
}

/**
 * What an instance signs with the private key that it asks a certificate for. The names are those of its link, so
 * that a signature is good for no other instance; the first line keeps it from meaning anything else.
 */
export const certificateRequestText = ({ agent, instance }: MemberIdentity, publicKey: string): string =>
  ['understudy certificate request', agent, instance, publicKey].join('\n')
