import type { BackoffPolicy } from '@understudy/shared/core/backoff'
import type { Random } from '@understudy/shared/core/random'
import { type Clock, type Mono, millis } from '@understudy/shared/core/time'
import { WebSocket } from 'ws'
import { MAX_MESSAGE } from './checked-messages.ts'
import { keepSocket } from './kept-socket.ts'
import { sendNow } from './live-socket.ts'
import type { Level } from './thread-messages.ts'

const BACKOFF: BackoffPolicy = { base: millis(100), cap: millis(2000) }
const CONNECT_TIMEOUT = millis(2000)

/** The voter's own connection to the coordinator, beside the agent's link. */
export interface CoordinatorSocket {
  /** Since when there is none; undefined while there is one. By `now`. */
  readonly lostAt: Mono | undefined
  send(text: string): void
  useCredential(credential: string): void
  /** The coordinator is there: the link has just reached it. */
  hurry(): void
  close(): void
}

export function openCoordinatorSocket(parts: {
  readonly url: string
  readonly credential: string
  readonly onMessage: (data: string) => void
  readonly onChange: () => void
  readonly now: () => Mono
  readonly clock: Clock
  readonly random: Random
  readonly log: (level: Level, line: Readonly<Record<string, unknown>>) => void
}): CoordinatorSocket {
  const { url, onChange, now, log } = parts
  let { credential } = parts
  let socket: WebSocket | undefined
  let lostAt: Mono | undefined = now()
  let said = ''

  const kept = keepSocket({
    ...parts,
    backoff: BACKOFF,
    open: () =>
      new WebSocket(url, {
        headers: { authorization: `Bearer ${credential}` },
        perMessageDeflate: false,
        handshakeTimeout: CONNECT_TIMEOUT,
        maxPayload: MAX_MESSAGE,
      }),
    onUp(opened) {
      socket = opened
      lostAt = undefined
      said = ''
      log('info', { event: 'voter.coordinator_connected' })
      onChange()
    },
    onDown(_, why) {
      socket = undefined
      lostAt ??= now()
      if (why !== said) log('info', { event: 'voter.coordinator_lost', why })
      said = why
      onChange()
    },
  })

  return {
    get lostAt() {
      return lostAt
    },
    send: (text) => sendNow(socket, text),
    useCredential(next) {
      credential = next
    },
    hurry: () => kept.hurry(),
    close: () => kept.close(),
  }
}
