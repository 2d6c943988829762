import type { PredictionRunView } from '@understudy/shared/protocol/predictions'

/** A page that does not read is cut off before it takes the memory of everybody else. */
const MAX_BUFFERED = 4 * 1024 * 1024

export interface FeedSocket {
  send(text: string): void
  close(code?: number, reason?: string): void
  readonly bufferedAmount: number
}

/** Predictions as they are made: a new page gets the last run, then each. */
export interface PredictionFeed {
  publish(run: PredictionRunView): void
  /** @param wants which pools; all of them when it is left out. Returns what to call when the page has gone. */
  subscribe(socket: FeedSocket, wants?: (poolId: string) => boolean): () => void
  readonly last: PredictionRunView | undefined
  readonly subscribers: number
}

export function createPredictionFeed(): PredictionFeed {
  const pages = new Map<FeedSocket, ((poolId: string) => boolean) | undefined>()
  let last: PredictionRunView | undefined
  let whole = ''

  function send(
    socket: FeedSocket,
    run: PredictionRunView,
    wants: ((id: string) => boolean) | undefined,
  ): void {
    if (socket.bufferedAmount > MAX_BUFFERED) {
      pages.delete(socket)
      socket.close(1013, 'too slow')
      return
    }
    if (!wants) socket.send(whole)
    else socket.send(JSON.stringify({ ...run, items: run.items.filter(({ pool_id: pool }) => wants(pool)) }))
  }

  return {
    publish(run) {
      last = run
      whole = JSON.stringify(run)
      for (const [socket, wants] of pages) send(socket, run, wants)
    },
    subscribe(socket, wants) {
      pages.set(socket, wants)
      if (last) send(socket, last, wants)
      return () => void pages.delete(socket)
    },
    get last() {
      return last
    },
    get subscribers() {
      return pages.size
    },
  }
}
