import { agentId, instanceId } from '@understudy/shared/core/ids'

/** Who the two ends are, to each other and in their certificates. */
const agent = agentId('bench')
export const members = {
  primary: { agent, instance: instanceId('i-primary1') },
  replica: { agent, instance: instanceId('i-replica1') },
} as const
