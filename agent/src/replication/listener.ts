import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { AppError, systemCodeOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import { type Clock, millis } from '@understudy/shared/core/time'
import { HEADER_BYTES, MAX_BODY_BYTES } from '@understudy/shared/protocol/replication'
import { type ReplicaMessage, replicaMessageSchema } from '@understudy/shared/protocol/replication-messages'
import type { Logger } from 'pino'
import { type WebSocket, WebSocketServer } from 'ws'
import { listeningTls, type PeerIdentity, peerOf, serverTls } from '../identity/identity.ts'
import type { Join, SenderSession } from './session-types.ts'

/** A replica has this long to say what it wants. */
const JOIN_TIMEOUT = millis(5000)

/**
 * A connection on which nothing comes for this long is asked by the kernel whether it is still there, and given up ten
 * seconds later: a machine or a network that is gone says nothing.
 */
export const KEEP_ALIVE_AFTER = millis(5000)

/** Where replicas dial in: lets in those that are allowed, and hands over what they say. */
export interface Listener {
  /** @throws AppError `port_in_use` */
  listen(host: string, port: number): Promise<{ port: number }>
  /** Exactly these may come in. */
  allow(replicas: readonly { instanceId: InstanceId; token: string }[]): void
  isAllowed(instance: InstanceId): boolean
  close(): Promise<void>
}

interface ListenerParts {
  readonly identity: PeerIdentity
  readonly clock: Clock
  readonly log: Logger
  /** Replicas are served at present. */
  readonly isOpen: () => boolean
  /** The session that the connection belongs to; undefined when it was refused. */
  readonly onJoin: (socket: WebSocket, instance: InstanceId, join: Join) => SenderSession | undefined
  readonly onLeave: (session: SenderSession, socket: WebSocket) => void
}

export function createListener({ identity, clock, log, isOpen, onJoin, onLeave }: ListenerParts): Listener {
  const allowed = new Map<InstanceId, Buffer>()
  const shown = identity.current ? serverTls(identity.current) : {}
  const http = createServer({ ...listeningTls, ...shown }, (_, response) => response.writeHead(426).end())
  // Streams that are open go on with the certificate that they began with.
  const endRenewals = identity.onRenewal((credentials) => http.setSecureContext(serverTls(credentials)))
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_BODY_BYTES + HEADER_BYTES,
  })

  http.on('tlsClientError', (error, { authorizationError }) => {
    const why = authorizationError ? String(authorizationError) : error.message
    log.debug({ event: 'replication.handshake_failed', why })
  })
  http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const instance = request.headers['x-understudy-instance']
    const refusal = isTheirs(request.socket, instance)
      ? refuse(instance, request.headers.authorization)
      : '403 Forbidden'
    if (refusal || typeof instance !== 'string') {
      socket.on('error', () => socket.destroy())
      socket.end(`HTTP/1.1 ${refusal ?? '400 Bad Request'}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
      return
    }
    request.socket.setKeepAlive(true, KEEP_ALIVE_AFTER)
    sockets.handleUpgrade(request, socket, head, (ws) => greet(ws, instance as InstanceId))
  })

  /** The certificate is that of the instance that the request is of, and of this agent. */
  function isTheirs(socket: IncomingMessage['socket'], instance: unknown): boolean {
    const peer = peerOf(socket as TLSSocket)
    if (peer?.agent === identity.self.agent && peer.instance === instance) return true
    log.warn({ event: 'replication.stranger_refused', certified: peer, claimed: instance })
    return false
  }

  /** The status line of a refusal, undefined for a replica that may come in. */
  function refuse(
    instance: string | string[] | undefined,
    authorization: string | undefined,
  ): string | undefined {
    if (!isOpen()) return '503 Service Unavailable'
    const expected = typeof instance === 'string' ? allowed.get(instance as InstanceId) : undefined
    const given = authorization?.startsWith('Bearer ') ? hashToken(authorization.slice(7)) : undefined
    return expected && given && timingSafeEqual(expected, given) ? undefined : '401 Unauthorized'
  }

  /** The first message says which epoch the replica follows; everything before that is refused. */
  function greet(socket: WebSocket, instance: InstanceId): void {
    const late = clock.timer(JOIN_TIMEOUT, () => socket.close(1008, 'no join'))
    let session: SenderSession | undefined
    socket.on('error', (error) =>
      log.debug({ event: 'replication.socket_error', instance, error: error.message }),
    )
    socket.on('close', () => {
      late()
      if (session) onLeave(session, socket)
    })
    socket.on('message', (data: Buffer, binary) => {
      if (binary) {
        if (!session) return socket.close(1008, 'no join')
        return session.onManifest(data)
      }
      const message = parse(data)
      if (!message) return socket.close(1007, 'malformed message')
      if (session) return session.onMessage(message)
      if (message.type !== 'join') return socket.close(1008, 'no join')
      late()
      session = onJoin(socket, instance, message)
    })
  }

  return {
    async listen(host, port) {
      await new Promise<void>((resolve, reject) => {
        http.once('error', (error) => reject(asListenError(error, host, port)))
        http.listen(port, host, resolve)
      })
      return { port: (http.address() as AddressInfo).port }
    },
    allow(replicas) {
      allowed.clear()
      for (const { instanceId, token } of replicas) allowed.set(instanceId, hashToken(token))
    },
    isAllowed: (instance) => allowed.has(instance),
    async close() {
      endRenewals()
      sockets.close()
      for (const socket of sockets.clients) socket.terminate()
      await new Promise<void>((resolve) => http.close(() => resolve()))
    },
  }
}

const hashToken = (token: string): Buffer => createHash('sha256').update(token).digest()

function parse(data: Buffer): ReplicaMessage | undefined {
  try {
    return replicaMessageSchema.safeParse(JSON.parse(data.toString('utf8'))).data
  } catch {
    return undefined
  }
}

const asListenError = (error: Error, host: string, port: number): Error =>
  systemCodeOf(error) === 'EADDRINUSE'
    ? new AppError('port_in_use', `the replication port ${host}:${port} is in use`, {
        hint: 'Set replication_port to a free one, or 0 to let the system choose.',
        cause: error,
      })
    : error
