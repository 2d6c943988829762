import { upgradeWebSocket } from '@hono/node-server'
import type { Context } from 'hono'
import type { WebSocket } from 'ws'
import type { AppEnv } from '../http/http.ts'
import type { LiveSocket } from './topics.ts'

/** A page that does not read is cut off before it takes the memory of everybody else. */
const MAX_BUFFERED = 4 * 1024 * 1024

/** What a page wants of a frame. */
type Shape<F> = (frame: F) => F

/** One frame for everybody who listens, as it comes; nothing is kept. */
export interface Stream<F> {
  readonly listeners: number
  publish(frame: F): void
  /**
   * What is published while the first frame is made follows it, so that nothing is missed. Returns what to call when the
   * page has gone.
   * @param first undefined where there is nothing to begin with
   */
  join(socket: LiveSocket, first: Promise<F | undefined>, shape?: Shape<F>): () => void
}

interface Page<F> {
  readonly shape: Shape<F> | undefined
  /** Until its first frame is there. */
  waiting: F[] | undefined
}

export function createStream<F>(): Stream<F> {
  const pages = new Map<LiveSocket, Page<F>>()

  function send(socket: LiveSocket, text: string): void {
    if (socket.bufferedAmount <= MAX_BUFFERED) return socket.send(text)
    pages.delete(socket)
    socket.close(1013, 'too slow')
  }

  return {
    get listeners() {
      return pages.size
    },
    publish(frame) {
      if (pages.size === 0) return
      const whole = JSON.stringify(frame)
      for (const [socket, { shape, waiting }] of pages) {
        if (waiting) waiting.push(frame)
        else send(socket, shape ? JSON.stringify(shape(frame)) : whole)
      }
    },
    join(socket, first, shape) {
      const page: Page<F> = { shape, waiting: [] }
      pages.set(socket, page)
      first.then(
        (frame) => {
          const missed = page.waiting ?? []
          page.waiting = undefined
          for (const one of frame === undefined ? missed : [frame, ...missed])
            if (pages.has(socket)) send(socket, JSON.stringify(shape ? shape(one) : one))
        },
        () => {
          pages.delete(socket)
          socket.close(1011, 'the first frame could not be made')
        },
      )
      return () => void pages.delete(socket)
    },
  }
}

/** Lets a page listen. To be used behind the middleware that checks its role. */
export function listenTo<F>(
  c: Context<AppEnv>,
  stream: Pick<Stream<F>, 'join'>,
  first: () => Promise<F | undefined>,
  shape?: Shape<F>,
) {
  let leave: (() => void) | undefined
  return upgradeWebSocket(c, {
    onOpen: (_, ws) => {
      leave = stream.join(ws.raw as unknown as WebSocket, first(), shape)
    },
    onClose: () => leave?.(),
  })
}
