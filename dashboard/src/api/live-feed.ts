import type { Random } from '@understudy/shared/core/random'
import { type Clock, type Millis, type Mono, millis } from '@understudy/shared/core/time'
import type { LiveFrame } from '@understudy/shared/protocol/live'
import { applyFrame, type LivePicture } from './live-picture.ts'
import { retryWait } from './retry-wait.ts'

/** A page that has heard nothing for this long is not live; the coordinator speaks every two seconds at least. */
export const STALE_AFTER = millis(10_000)

/** The part of a WebSocket that is used. */
export type LiveSocket = Pick<WebSocket, 'onmessage' | 'onclose' | 'close'>

export interface LiveFeedPorts {
  readonly open: () => LiveSocket
  readonly clock: Clock
  readonly random: Random
  /** A frame was understood: the picture with it, and when it came. */
  readonly onPicture: (picture: LivePicture, heardAt: Mono) => void
  /** The connection was lost or refused; `tries` counts how often since it last worked. */
  readonly onLost: (tries: number) => void
}

/** Keeps one WebSocket to `/api/live` open and the picture whole. */
export interface LiveFeed {
  start(): void
  /** Does not wait any longer for the next try. */
  retry(): void
  stop(): void
}

/** A missing frame, and silence, count as a lost connection: the snapshot of the next one makes the picture whole again. */
export function createLiveFeed({ open, clock, random, onPicture, onLost }: LiveFeedPorts): LiveFeed {
  let picture: LivePicture | undefined
  let socket: LiveSocket | undefined
  let tries = 0
  let cancelTimer = () => {}

  const wait = (length: Millis, then: () => void) => {
    cancelTimer()
    cancelTimer = clock.timer(length, then)
  }

  function connect(): void {
    const mine = open()
    socket = mine
    picture = undefined
    mine.onmessage = ({ data }) => mine === socket && receive(String(data))
    mine.onclose = () => mine === socket && lost()
    wait(STALE_AFTER, lost)
  }

  function receive(text: string): void {
    const outcome = applyFrame(picture, JSON.parse(text) as LiveFrame)
    if (outcome === 'gap') return lost()
    wait(STALE_AFTER, lost)
    if (outcome === 'repeated') return
    picture = outcome.picture
    tries = 0
    onPicture(picture, clock.mono())
  }

  function lost(): void {
    drop()
    tries += 1
    onLost(tries)
    wait(retryWait(tries, random), connect)
  }

  function drop(): void {
    const old = socket
    socket = undefined
    old?.close()
  }

  return {
    start: connect,
    retry() {
      // One that is open is left alone: it is live, or found out to be silent soon.
      if (!socket) connect()
    },
    stop() {
      cancelTimer()
      drop()
    },
  }
}
