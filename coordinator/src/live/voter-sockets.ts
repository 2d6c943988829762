import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import type { VoterMessage } from '@understudy/shared/failover/voter'
import { voterMessageSchema } from '@understudy/shared/protocol/voter-messages'
import type { Logger } from 'pino'
import type { LinkSession, LinkSocket } from './links.ts'

/** No message of a voter is longer: the longest carries two certificates. */
const MAX_CHARACTERS = 64 * 1024

/** Who deals with what voters say. */
export interface VoterHandlers {
  onVoterOpen(agentId: AgentId, instance: InstanceId): void
  onVoterMessage(agentId: AgentId, instance: InstanceId, message: VoterMessage): void
  onVoterClosed(agentId: AgentId, instance: InstanceId): void
}

/**
 * The sockets of the instances' voters, beside their links: some seven heartbeats a second each, and votes. Nothing is
 * acknowledged or kept. An instance has one; a new connection replaces the one before.
 */
export interface VoterSockets {
  readonly size: number
  /** Dropped when the instance is not connected here: whoever says something says it again while it matters. */
  send(instance: InstanceId, message: VoterMessage): void
  accept(agentId: AgentId, instance: InstanceId, socket: LinkSocket): LinkSession
}

export function createVoterSockets(handlers: VoterHandlers, log: Logger): VoterSockets {
  const sockets = new Map<InstanceId, LinkSocket>()
  return {
    get size() {
      return sockets.size
    },
    send(instance, message) {
      sockets.get(instance)?.send(JSON.stringify(message))
    },
    accept(agentId, instance, socket) {
      const before = sockets.get(instance)
      sockets.set(instance, socket)
      before?.close(1000, 'replaced by a new connection')
      handlers.onVoterOpen(agentId, instance)
      const isCurrent = () => sockets.get(instance) === socket

      function refuse(code: number, why: string): void {
        log.warn({ event: 'voter.closed', agent: agentId, instance, why })
        socket.close(code, why)
      }

      return {
        receive(text) {
          if (!isCurrent()) return
          if (text.length > MAX_CHARACTERS) return refuse(1009, 'the message is too long')
          const parsed = voterMessageSchema.safeParse(parseJson(text))
          if (!parsed.success) return refuse(1008, 'a message was not understood')
          handlers.onVoterMessage(agentId, instance, parsed.data)
        },
        closed() {
          if (!isCurrent()) return
          sockets.delete(instance)
          handlers.onVoterClosed(agentId, instance)
        },
      }
    },
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
