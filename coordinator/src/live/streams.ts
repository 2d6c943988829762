import type { Context } from 'hono'
import type { AppEnv } from '../http/http.ts'
import { type Listening, pageSocket } from './page-socket.ts'
import type { LiveSocket } from './topics.ts'

/** A page that does not read is cut off before it takes the memory of everybody else. */
const MAX_BUFFERED = 4 * 1024 * 1024

/** What a page wants of a frame. */
type Shape<F> = (frame: F) => F

/**
 * One frame for everybody who listens, as it comes; nothing is kept. To each page frames are numbered from 0 (`seq`), so that
 * it knows when it has missed one.
 */
export interface Stream<F extends object> {
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
  seq: number
  readonly shape: Shape<F> | undefined
  /** Until its first frame is there. */
  waiting: F[] | undefined
}

export function createStream<F extends object>(): Stream<F> {
  const pages = new Map<LiveSocket, Page<F>>()

  /** `frame` is JSON already: it is not made again for each page. */
  function send(socket: LiveSocket, page: Page<F>, frame: string): void {
    if (socket.bufferedAmount > MAX_BUFFERED) {
      pages.delete(socket)
      return socket.close(1013, 'too slow')
    }
    socket.send(`{"seq":${page.seq},${frame.slice(1)}`)
    page.seq += 1
  }

  return {
    get listeners() {
      return pages.size
    },
    publish(frame) {
      if (pages.size === 0) return
      const whole = JSON.stringify(frame)
      for (const [socket, page] of pages) {
        const { shape, waiting } = page
        if (waiting) waiting.push(frame)
        else send(socket, page, shape ? JSON.stringify(shape(frame)) : whole)
      }
    },
    join(socket, first, shape) {
      const page: Page<F> = { seq: 0, shape, waiting: [] }
      pages.set(socket, page)
      first.then(
        (frame) => {
          const missed = page.waiting ?? []
          page.waiting = undefined
          for (const one of frame === undefined ? missed : [frame, ...missed])
            if (pages.has(socket)) send(socket, page, JSON.stringify(shape ? shape(one) : one))
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

/** Lets a page listen for as long as it may. */
export const listenTo = <F extends object>(
  c: Context<AppEnv>,
  listening: Listening,
  stream: Pick<Stream<F>, 'join'>,
  first: () => Promise<F | undefined>,
  shape?: Shape<F>,
) => pageSocket(c, listening, (socket) => stream.join(socket, first(), shape))
