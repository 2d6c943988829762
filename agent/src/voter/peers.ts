import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { AppError, messageOf, systemCodeOf } from '@understudy/shared/core/app-error'
import type { BackoffPolicy } from '@understudy/shared/core/backoff'
import type { InstanceId } from '@understudy/shared/core/ids'
import type { Random } from '@understudy/shared/core/random'
import { type Clock, millis } from '@understudy/shared/core/time'
import type { MemberIdentity } from '@understudy/shared/protocol/member-identity'
import { WebSocket, WebSocketServer } from 'ws'
import type { Credentials } from '../identity/identity.ts'
// Not by the front door: with what else is behind it, the thread would be twice as large.
import { clientTls, listeningTls, peerOf, serverTls } from '../identity/peer-tls.ts'
import { MAX_MESSAGE } from './checked-messages.ts'
import { type KeptSocket, keepSocket } from './kept-socket.ts'
import { sendNow, watchLife } from './live-socket.ts'
import type { Level, PeerAddress } from './thread-messages.ts'

const BACKOFF: BackoffPolicy = { base: millis(100), cap: millis(2000) }
const CONNECT_TIMEOUT = millis(2000)
/** Connections from one instance at a time: an old one that has not been found dead yet, and a new one. */
const PER_PEER = 4

/**
 * Connections between the voters of one agent, over mutual TLS. A replica dials its primary; whatever either side has
 * to say goes over the newest connection of the two.
 */
export interface Peers {
  readonly connected: ReadonlySet<InstanceId>
  /** @throws AppError `port_in_use` */
  listen(host: string, port: number): Promise<number>
  dial(upstream: PeerAddress | undefined): void
  useCredentials(credentials: Credentials): void
  send(to: InstanceId, text: string): void
  broadcast(text: string): void
  close(): void
}

export function createPeers(parts: {
  readonly self: MemberIdentity
  readonly credentials: Credentials | undefined
  readonly mayCome: (instance: InstanceId) => boolean
  readonly onMessage: (from: InstanceId, data: string) => void
  readonly onChange: () => void
  readonly clock: Clock
  readonly random: Random
  readonly log: (level: Level, line: Readonly<Record<string, unknown>>) => void
}): Peers {
  const { self, mayCome, onMessage, onChange, clock, random, log } = parts
  let { credentials } = parts
  /** The newest last. */
  const sockets = new Map<InstanceId, WebSocket[]>()
  let dialled: { readonly upstream: PeerAddress; readonly kept: KeptSocket } | undefined

  const server = createServer(
    { ...listeningTls, ...(credentials ? serverTls(credentials) : {}) },
    (_, response) => response.writeHead(426).end(),
  )
  const incoming = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_MESSAGE })

  function add(instance: InstanceId, socket: WebSocket): void {
    const all = [...(sockets.get(instance) ?? []), socket]
    sockets.set(instance, all)
    if (all.length > PER_PEER) all[0]?.terminate()
    if (all.length === 1) log('info', { event: 'voter.peer_connected', peer: instance })
    onChange()
  }

  function remove(instance: InstanceId, socket: WebSocket, why: string): void {
    const before = sockets.get(instance) ?? []
    const left = before.filter((other) => other !== socket)
    if (left.length === before.length) return
    if (left.length > 0) sockets.set(instance, left)
    else {
      sockets.delete(instance)
      log('info', { event: 'voter.peer_lost', peer: instance, why })
    }
    onChange()
  }

  server.on('tlsClientError', (error) =>
    log('debug', { event: 'voter.handshake_failed', why: error.message.slice(0, 200) }),
  )
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const peer = peerOf(request.socket as TLSSocket)
    const isOurs = peer?.agent === self.agent && peer.instance !== self.instance
    if (!isOurs || !mayCome(peer.instance)) {
      if (!isOurs) log('warn', { event: 'voter.stranger_refused', certified: peer })
      socket.on('error', () => socket.destroy())
      socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
      return
    }
    incoming.handleUpgrade(request, socket, head, (ws) => greet(ws, peer.instance))
  })

  function greet(socket: WebSocket, instance: InstanceId): void {
    let why = 'closed'
    socket.on('error', (error) => {
      why = error.message
    })
    socket.on('close', () => remove(instance, socket, why))
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) return socket.close(1003)
      onMessage(instance, data.toString('utf8'))
    })
    watchLife(socket, clock)
    add(instance, socket)
  }

  function open({ instanceId, host, voterPort }: PeerAddress): WebSocket {
    if (!credentials) throw new Error('this instance has no certificate yet')
    const address = host.includes(':') ? `[${host}]` : host
    return new WebSocket(`wss://${address}:${voterPort}/voter`, {
      ...clientTls(credentials, { agent: self.agent, instance: instanceId }),
      perMessageDeflate: false,
      handshakeTimeout: CONNECT_TIMEOUT,
      maxPayload: MAX_MESSAGE,
    })
  }

  function keep(upstream: PeerAddress): KeptSocket {
    const { instanceId } = upstream
    let said = ''
    return keepSocket({
      open: () => open(upstream),
      onUp(socket) {
        said = ''
        add(instanceId, socket)
      },
      onMessage: (data) => onMessage(instanceId, data),
      onDown(socket, why) {
        if (socket) remove(instanceId, socket, why)
        if (why !== said) log('info', { event: 'voter.peer_unreachable', peer: instanceId, why })
        said = why
      },
      backoff: BACKOFF,
      clock,
      random,
    })
  }

  const newest = (instance: InstanceId): WebSocket | undefined =>
    sockets.get(instance)?.findLast(({ readyState }) => readyState === WebSocket.OPEN)

  return {
    get connected() {
      return new Set(sockets.keys())
    },
    async listen(host, port) {
      await new Promise<void>((resolve, reject) => {
        server.once('error', (error) => reject(asListenError(error, host, port)))
        server.listen(port, host, resolve)
      })
      server.on('error', (error) => log('error', { event: 'voter.listener_failed', why: messageOf(error) }))
      return (server.address() as AddressInfo).port
    },
    dial(upstream) {
      const before = dialled?.upstream
      const isSame =
        before?.instanceId === upstream?.instanceId &&
        before?.host === upstream?.host &&
        before?.voterPort === upstream?.voterPort
      if (isSame) {
        if (dialled && upstream) dialled = { ...dialled, upstream }
        return
      }
      dialled?.kept.close()
      dialled = upstream && { upstream, kept: keep(upstream) }
    },
    useCredentials(next) {
      credentials = next
      server.setSecureContext(serverTls(next))
      dialled?.kept.hurry()
    },
    send: (to, text) => sendNow(newest(to), text),
    broadcast(text) {
      for (const instance of sockets.keys()) sendNow(newest(instance), text)
    },
    close() {
      dialled?.kept.close()
      incoming.close()
      for (const all of sockets.values()) for (const socket of all) socket.terminate()
      server.close()
    },
  }
}

const asListenError = (error: Error, host: string, port: number): Error =>
  systemCodeOf(error) === 'EADDRINUSE'
    ? new AppError('port_in_use', `the voter port ${host}:${port} is in use`, {
        hint: 'Set voter_port to a free one, or 0 to let the system choose.',
        cause: error,
      })
    : error
