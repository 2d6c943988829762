import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { AppError, isAppError, systemCodeOf } from '@understudy/shared/core/app-error'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Clock, Millis } from '@understudy/shared/core/time'
import {
  HEADER_BYTES,
  MAX_BODY_BYTES,
  type ReplicaMessage,
  replicaMessageSchema,
} from '@understudy/shared/protocol/replication'
import { PROTOCOL_VERSION } from '@understudy/shared/protocol/version'
import type { Logger } from 'pino'
import { type WebSocket, WebSocketServer } from 'ws'
import { listeningTls, type PeerIdentity, peerOf, serverTls } from '../identity/identity.ts'
import { createScanner, type Scanner } from './scanner.ts'
import { createSenderSession, type SenderSession, type SessionLag } from './sender-session.ts'
import type { StateRoots } from './state-files.ts'
import { treeDigest } from './state-tree.ts'

/** A replica has this long to say what it wants. */
const JOIN_TIMEOUT = 5000

/** The primary's end: listens for replicas and sends them the state while this instance serves an epoch. */
export interface Sender {
  /** @throws AppError `port_in_use` */
  listen(host: string, port: number): Promise<{ port: number }>
  serve(epoch: number): void
  /** Who may receive; replicas that are not in the list are cut off. */
  allow(epoch: number, replicas: readonly { instanceId: InstanceId; token: string }[]): void
  stopServing(): void
  /** Resolves once the replica is close behind. Throws AppError when it is not within the budget. */
  drain(target: InstanceId, budget: Millis): Promise<void>
  /** Resolves once the replica holds exactly this state. The workload must be frozen. */
  seal(target: InstanceId, budget: Millis, tolerant: boolean): Promise<{ seq: number; unreadable: number }>
  lags(): readonly { instance: InstanceId; lag: SessionLag }[]
  /** Names that could not be read, with the reason; empty while not serving. */
  unreadable(): ReadonlyMap<string, string>
  close(): Promise<void>
}

export function createSender(roots: StateRoots, identity: PeerIdentity, clock: Clock, log: Logger): Sender {
  const sessions = new Map<InstanceId, SenderSession>()
  const allowed = new Map<InstanceId, Buffer>()
  let allowedEpoch = -1
  let serving: { epoch: number; scanner: Scanner } | undefined
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
    if (!serving || allowedEpoch !== serving.epoch) return '503 Service Unavailable'
    const expected = typeof instance === 'string' ? allowed.get(instance as InstanceId) : undefined
    const given = authorization?.startsWith('Bearer ') ? hashToken(authorization.slice(7)) : undefined
    return expected && given && timingSafeEqual(expected, given) ? undefined : '401 Unauthorized'
  }

  /** The first message says which epoch the replica follows; everything before that is refused. */
  function greet(socket: WebSocket, instance: InstanceId): void {
    const late = clock.timer(JOIN_TIMEOUT as Millis, () => socket.close(1008, 'no join'))
    let session: SenderSession | undefined
    socket.on('error', (error) =>
      log.debug({ event: 'replication.socket_error', instance, error: error.message }),
    )
    socket.on('close', () => {
      late()
      session?.close('the replica has disconnected')
      if (session && sessions.get(instance) === session) sessions.delete(instance)
      if (sessions.size === 0) serving?.scanner.stop()
    })
    socket.on('message', (data: Buffer, binary) => {
      if (binary) return session ? session.onManifest(data) : socket.close(1008, 'no join')
      const message = parse(data)
      if (!message) return socket.close(1007, 'malformed message')
      if (session) return session.onMessage(message)
      if (message.type !== 'join') return socket.close(1008, 'no join')
      late()
      session = join(socket, instance, message)
    })
  }

  function join(
    socket: WebSocket,
    instance: InstanceId,
    message: ReplicaMessage & { type: 'join' },
  ): SenderSession | undefined {
    const refused = (code: string, text: string) => {
      socket.send(JSON.stringify({ type: 'refused', code, message: text }))
      socket.close(1008, code)
      return undefined
    }
    if (!serving) return refused('unavailable', 'this instance is not primary')
    const { epoch, scanner } = serving
    if (message.protocol !== PROTOCOL_VERSION)
      return refused('protocol', `this primary speaks protocol ${PROTOCOL_VERSION}, not ${message.protocol}`)
    if (message.epoch !== epoch)
      return refused('stale_epoch', `this primary serves epoch ${epoch}, not ${message.epoch}`)
    if (message.roots !== roots.directories.length)
      return refused(
        'conflict',
        `the primary replicates ${roots.directories.length} state directories, the replica is set up for ${message.roots}`,
      )
    sessions.get(instance)?.close('the replica has connected again')
    const session = createSenderSession({
      socket,
      instance,
      epoch,
      tree: scanner.tree,
      roots,
      clock,
      log,
    })
    sessions.set(instance, session)
    scanner.start()
    log.info({ event: 'replication.replica_joined', instance, epoch })
    // The manifest is compared with a tree that has been read at least once.
    void scanner.full().then(() => socket.send(JSON.stringify({ type: 'accepted', epoch })))
    return session
  }

  const sessionOf = (target: InstanceId): SenderSession => {
    const session = sessions.get(target)
    if (session) return session
    throw new AppError('unavailable', `${target} is not connected to this primary`, {
      hint: 'Its agent shows why under "degraded"; a security group that blocks the replication port is the usual reason.',
      retryable: true,
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
    serve(epoch) {
      this.stopServing()
      const scanner = createScanner(roots, clock, (changed, completeSince) => {
        for (const session of sessions.values()) session.looked(changed, completeSince)
      })
      serving = { epoch, scanner }
    },
    allow(epoch, replicas) {
      allowedEpoch = epoch
      allowed.clear()
      for (const { instanceId, token } of replicas) allowed.set(instanceId, hashToken(token))
      for (const session of sessions.values())
        if (!allowed.has(session.instance)) session.close('it is not a replica of this agent any more')
    },
    stopServing() {
      serving?.scanner.stop()
      serving = undefined
      for (const session of sessions.values()) session.close('this instance is not primary any more')
      sessions.clear()
    },
    async drain(target, budget) {
      const signal = AbortSignal.timeout(Math.ceil(budget))
      try {
        await serving?.scanner.exact()
        await sessionOf(target).near(signal)
      } catch (error) {
        throw asBudgetError(error, signal, `${target} did not catch up`, budget)
      }
    },
    async seal(target, budget, tolerant) {
      if (!serving) throw new AppError('conflict', 'this instance is not primary')
      const { scanner } = serving
      const signal = AbortSignal.timeout(Math.ceil(budget))
      try {
        await scanner.exact()
        if (scanner.unreadable.size > 0 && !tolerant) throw unreadableError(scanner.unreadable)
        const session = sessionOf(target)
        const { seq } = await session.settled(signal)
        await session.barrier(treeDigest(scanner.tree), signal)
        return { seq, unreadable: scanner.unreadable.size }
      } catch (error) {
        throw asBudgetError(error, signal, `${target} did not confirm the last of the state`, budget)
      }
    },
    lags: () => [...sessions.values()].map((session) => ({ instance: session.instance, lag: session.lag })),
    unreadable: () => serving?.scanner.unreadable ?? new Map(),
    async close() {
      this.stopServing()
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

function asBudgetError(error: unknown, signal: AbortSignal, what: string, budget: Millis): unknown {
  if (!signal.aborted || isAppError(error)) return error
  return new AppError('not_ready', `${what} within ${Math.round(budget)} ms`, { retryable: true })
}

function unreadableError(unreadable: ReadonlyMap<string, string>): AppError {
  const [name, why] = [...unreadable][0] ?? ['', '']
  return new AppError(
    'state_unreadable',
    `${unreadable.size} names of the state cannot be read: ${name} (${why})`,
    {
      hint: 'Let the agent run as a user that can read everything below the state directories.',
    },
  )
}

const asListenError = (error: Error, host: string, port: number): Error =>
  systemCodeOf(error) === 'EADDRINUSE'
    ? new AppError('port_in_use', `the replication port ${host}:${port} is in use`, {
        hint: 'Set replication_port to a free one, or 0 to let the system choose.',
        cause: error,
      })
    : error
