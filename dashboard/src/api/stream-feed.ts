import type { Random } from '@understudy/shared/core/random'
import type { Clock } from '@understudy/shared/core/time'
import type { LiveSocket } from './live-feed.ts'
import { retryWait } from './retry-wait.ts'

export interface StreamFeedPorts<F> {
  readonly open: () => LiveSocket
  readonly clock: Clock
  readonly random: Random
  readonly onframe: (frame: F) => void
  /** `true` once something was heard, `false` once it was lost. */
  readonly onlink: (up: boolean) => void
}

/**
 * Keeps a WebSocket open whose first frame is a picture of the latest. It may be silent for as long as nothing happens, so
 * that silence means nothing: whether the coordinator is there is known from `/api/live`. Returns what ends it.
 */
export function listenToStream<F>({ open, clock, random, onframe, onlink }: StreamFeedPorts<F>): () => void {
  let socket: LiveSocket | undefined
  let tries = 0
  let cancel = () => {}

  function connect(): void {
    const mine = open()
    socket = mine
    mine.onmessage = ({ data }) => {
      if (mine !== socket) return
      tries = 0
      onlink(true)
      onframe(JSON.parse(String(data)) as F)
    }
    mine.onclose = () => {
      if (mine !== socket) return
      socket = undefined
      tries += 1
      onlink(false)
      cancel = clock.timer(retryWait(tries, random), connect)
    }
  }

  connect()
  return () => {
    cancel()
    const old = socket
    socket = undefined
    old?.close()
  }
}
