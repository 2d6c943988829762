import type { AgentId, InstanceId } from '../core/ids.ts'
import { minutes } from '../core/time.ts'
import { agentIdSchema, instanceIdSchema } from './primitives.ts'

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
  const match = /^understudy:\/\/([^/]+)\/([^/]+)$/.exec(uri)
  const agent = agentIdSchema.safeParse(match?.[1]).data
  const instance = instanceIdSchema.safeParse(match?.[2]).data
  return agent && instance ? { agent, instance } : undefined
}

/**
 * What an instance signs with the private key that it asks a certificate for. The names are those of its link, so
 * that a signature is good for no other instance; the first line keeps it from meaning anything else.
 */
export const certificateRequestText = ({ agent, instance }: MemberIdentity, publicKey: string): string =>
  ['understudy certificate request', agent, instance, publicKey].join('\n')
