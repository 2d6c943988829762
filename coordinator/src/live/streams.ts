import { upgradeWebSocket } from '@hono/node-server'
import type { Context } from 'hono'
import type { WebSocket } from 'ws'
import type { AppEnv } from '../http/http.ts'
import type { LiveSocket } from './topics.ts'

/** A page that does not read is cut off before it takes the memory of everybody else. */
const MAX_BUFFERED = 4 * 1024 * 1024

/** One frame for everybody who listens, as it comes; nothing is kept. */
export interface Stream<F> {
  readonly listeners: number
  publish(frame: F): void
  /** Returns what to call when the page has gone. */
  join(socket: LiveSocket, first: Promise<F>): () => void
}

export function createStream<F>(): Stream<F> {
  const pages = new Set<LiveSocket>()
  return {
    get listeners() {
      return pages.size
    },
    publish(frame) {
      if (pages.size === 0) return
      const text = JSON.stringify(frame)
      for (const page of pages) {
        if (page.bufferedAmount > MAX_BUFFERED) {
          pages.delete(page)
          page.close(1013, 'too slow')
        } else page.send(text)
      }
    },
    join(socket, first) {
      let left = false
      first.then(
        (frame) => {
          if (left) return
          socket.send(JSON.stringify(frame))
          pages.add(socket)
        },
        () => socket.close(1011, 'the first frame could not be made'),
      )
      return () => {
        left = true
        pages.delete(socket)
      }
    },
  }
}

/** Lets a page listen. To be used behind the middleware that checks its role. */
export function listenTo<F>(c: Context<AppEnv>, stream: Stream<F>, first: () => Promise<F>) {
  let leave: (() => void) | undefined
  return upgradeWebSocket(c, {
    onOpen: (_, ws) => {
      const raw = ws.raw as unknown as WebSocket
      const socket: LiveSocket = {
        send: (text) => raw.send(text),
        close: (code, reason) => raw.close(code, reason),
        get bufferedAmount() {
          return raw.bufferedAmount
        },
      }
      leave = stream.join(socket, first())
    },
    onClose: () => leave?.(),
  })
}
