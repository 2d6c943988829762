import type { AgentId, InstanceId } from '@understudy/shared/core/ids'
import {
  type AgentMessage,
  agentMessageSchema,
  type CertificateRequest,
  type CoordinatorMessage,
  type Heartbeat,
  type Hello,
  type Report,
  reportEnvelopeSchema,
} from '@understudy/shared/protocol/link'
import type { Logger } from 'pino'
import type { ZodError } from 'zod'

/** Instances of which it is known what they have reported: more than are ever there at once. */
const MOST_REMEMBERED = 10_000

/** What a socket must be able to do; `ws` and hono's wrapper of it both are. */
export interface LinkSocket {
  send(text: string): void
  close(code?: number, reason?: string): void
}

/** Who deals with what agents say. */
export interface LinkHandlers {
  onHello(agentId: AgentId, instance: InstanceId, hello: Hello): boolean
  onHeartbeat(agentId: AgentId, instance: InstanceId, heartbeat: Heartbeat): void
  onReport(agentId: AgentId, instance: InstanceId, report: Report): void
  /** Answers by itself, also when it refuses. */
  onCertificateRequest(agentId: AgentId, instance: InstanceId, request: CertificateRequest): void
  onDisconnected(agentId: AgentId, instance: InstanceId): void
}

/** One connection of one instance, for as long as it lasts. */
export interface LinkSession {
  receive(text: string): void
  closed(): void
}

/**
 * The agents' links that end at this coordinator. An instance has one: a new connection replaces the one before,
 * because the old one may be dead without anybody knowing.
 */
export interface Links {
  readonly size: number
  connected(): readonly InstanceId[]
  /** False when the instance is not connected here. */
  send(instance: InstanceId, message: CoordinatorMessage): boolean
  accept(agentId: AgentId, instance: InstanceId, socket: LinkSocket): LinkSession
}

export function createLinks(handlers: LinkHandlers, log: Logger): Links {
  const sockets = new Map<InstanceId, LinkSocket>()
  /** The last report of each instance that was dealt with, of which run of its daemon. */
  const reported = new Map<InstanceId, { readonly boot: string; readonly id: number }>()

  const sendOn = (socket: LinkSocket, message: CoordinatorMessage) => socket.send(JSON.stringify(message))

  return {
    get size() {
      return sockets.size
    },
    connected: () => [...sockets.keys()],
    send(instance, message) {
      const socket = sockets.get(instance)
      if (!socket) return false
      sendOn(socket, message)
      return true
    },
    accept(agentId, instance, socket) {
      let greeted = false
      let boot = ''
      const isCurrent = () => sockets.get(instance) === socket

      const refuse = (code: string, message: string) => {
        log.warn({ event: 'link.refused', agent: agentId, instance, code, why: message })
        sendOn(socket, { type: 'refused', code, message })
        socket.close(1008, code)
      }

      function greet(hello: Hello): void {
        if (hello.instanceId !== instance)
          return refuse('forbidden', `this credential is for ${instance}, not for ${hello.instanceId}`)
        const before = sockets.get(instance)
        sockets.set(instance, socket)
        if (before && before !== socket) before.close(1000, 'replaced by a new connection')
        greeted = true
        boot = hello.boot
        if (!handlers.onHello(agentId, instance, hello)) socket.close(1008, 'refused')
      }

      function handle(message: AgentMessage): void {
        if (message.type === 'hello') return greet(message)
        if (!greeted) return refuse('protocol', 'a connection begins with hello')
        // What an older connection still brings is not about now any more.
        if (!isCurrent()) return
        if (message.type === 'heartbeat') return handlers.onHeartbeat(agentId, instance, message)
        if (message.type === 'certificate-request')
          return handlers.onCertificateRequest(agentId, instance, message)
        // Said again over a new connection, because the acknowledgement was lost with the one before.
        if (!isKnown(message.id)) handlers.onReport(agentId, instance, message.body)
        remember(message.id)
        sendOn(socket, { type: 'report-ack', id: message.id })
      }

      /** Reports come in order, and every run of the daemon counts its own. */
      function isKnown(id: number): boolean {
        const last = reported.get(instance)
        return last?.boot === boot && id <= last.id
      }

      function remember(id: number): void {
        if (isKnown(id)) return
        reported.delete(instance)
        reported.set(instance, { boot, id })
        const [oldest] = reported.keys()
        if (reported.size > MOST_REMEMBERED && oldest !== undefined) reported.delete(oldest)
      }

      /** Acknowledged all the same: the agent would repeat it for ever, and nobody would understand it later. */
      function refuseReport(id: number, why: string): void {
        if (!isCurrent()) return
        log.error({ event: 'link.report_refused', agent: agentId, instance, report: id, why })
        sendOn(socket, { type: 'report-ack', id })
      }

      return {
        receive(text) {
          const message = parseJson(text)
          const parsed = agentMessageSchema.safeParse(message)
          if (parsed.success) return handle(parsed.data)
          const report = reportEnvelopeSchema.safeParse(message)
          const why = oneLine(parsed.error)
          if (greeted && report.success) return refuseReport(report.data.id, why)
          refuse('protocol', `a message was not understood: ${why}`)
        },
        closed() {
          if (!isCurrent()) return
          sockets.delete(instance)
          handlers.onDisconnected(agentId, instance)
        },
      }
    },
  }
}

/** The places that are wrong in a message, fit for one line of a log. */
const oneLine = ({ issues }: ZodError): string =>
  issues
    .map(({ path, message }) => [path.join('.'), message].filter(Boolean).join(': '))
    .join('; ')
    .slice(0, 300)

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
