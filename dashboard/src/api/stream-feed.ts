import type { Random } from '@understudy/shared/core/random'
import type { Clock } from '@understudy/shared/core/time'
import type { LiveSocket } from './live-feed.ts'
import { retryWait } from './retry-wait.ts'

export interface StreamFeedPorts<F extends object> {
  readonly open: () => LiveSocket
  readonly clock: Clock
  readonly random: Random
  readonly onframe: (frame: F) => void
  /** `true` once something was heard, `false` once it was lost. */
  readonly onlink: (up: boolean) => void
}

/**
 * Keeps a WebSocket open whose first frame is a picture of the latest, and whose frames are numbered: after a gap it begins
 * anew. It may be silent for as long as nothing happens, so
 * that silence means nothing: whether the coordinator is there is known from `/api/live`. Returns what ends it.
 */
export function listenToStream<F extends object>({
  open,
  clock,
  random,
  onframe,
  onlink,
}: StreamFeedPorts<F>): () => void {
  let socket: LiveSocket | undefined
  let tries = 0
  let cancel = () => {}

  function connect(): void {
    const mine = open()
    let next = 0
    socket = mine
    mine.onmessage = ({ data }) => {
      if (mine !== socket) return
      const { seq, ...frame } = JSON.parse(String(data)) as F & { readonly seq: number }
      if (seq !== next) {
        lost()
        return mine.close()
      }
      next += 1
      tries = 0
      onlink(true)
      onframe(frame as F)
    }
    mine.onclose = () => mine === socket && lost()
  }

  function lost(): void {
    socket = undefined
    tries += 1
    onlink(false)
    cancel = clock.timer(retryWait(tries, random), connect)
  }

  connect()
  return () => {
    cancel()
    const old = socket
    socket = undefined
    old?.close()
  }
}
