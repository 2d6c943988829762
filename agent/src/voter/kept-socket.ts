import { type BackoffPolicy, fullJitter } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import { between, type Clock, type Millis, millis } from '@understudy/shared/core/time'
import type { WebSocket } from 'ws'
import { watchLife } from './live-socket.ts'

/** A connection that has held for so long is a new beginning. */
const SETTLED = millis(5000)

export interface KeptSocketParts {
  /** Begins one connection; may throw what speaks against it at present. */
  readonly open: () => WebSocket
  readonly onUp: (socket: WebSocket) => void
  readonly onMessage: (data: string) => void
  readonly onDown: (socket: WebSocket | undefined, why: string) => void
  readonly backoff: BackoffPolicy
  readonly clock: Clock
  readonly random: Random
}

/** One connection that is kept up until `close`. */
export interface KeptSocket {
  /** Tries at once, if it is waiting before another try. */
  hurry(): void
  close(): void
}

export function keepSocket(parts: KeptSocketParts): KeptSocket {
  const { clock, random, backoff } = parts
  let current: WebSocket | undefined
  let attempt = 0
  let cancelRetry: (() => void) | undefined
  let closed = false

  function connect(): void {
    cancelRetry = undefined
    const began = clock.mono()
    let socket: WebSocket
    try {
      socket = parts.open()
    } catch (error) {
      return end(undefined, error instanceof Error ? error.message : String(error))
    }
    current = socket
    let why = ''
    socket.on('open', () => parts.onUp(socket))
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) return socket.close(1003)
      parts.onMessage(data.toString('utf8'))
    })
    socket.on('error', (error) => {
      why ||= error.message
    })
    socket.on('close', (code, reason) => {
      if (between(began, clock.mono()) > SETTLED) attempt = 0
      end(socket, why || reason.toString('utf8').slice(0, 200) || `closed (${code})`)
    })
    watchLife(socket, clock)
  }

  function end(socket: WebSocket | undefined, why: string): void {
    current = undefined
    parts.onDown(socket, closed ? 'it is not wanted any more' : why)
    if (closed) return
    const wait: Millis = fullJitter(backoff, attempt, random)
    attempt += 1
    cancelRetry = clock.timer(wait, connect)
  }

  connect()
  return {
    hurry() {
      if (!cancelRetry) return
      cancelRetry()
      attempt = 0
      connect()
    },
    close() {
      closed = true
      cancelRetry?.()
      current?.terminate()
    },
  }
}
