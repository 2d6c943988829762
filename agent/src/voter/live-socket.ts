import { between, type Clock, type Mono, millis } from '@understudy/shared/core/time'
import { WebSocket } from 'ws'

const ASK_EVERY = millis(1000)
/** A connection on which nothing comes for so long is dead, whatever TCP thinks. */
const SILENCE_LIMIT = millis(3000)
/** What waits to be sent to somebody who does not read is old by the time it is read. */
const MAX_WAITING = 256 * 1024

/** Ends `socket` when the other side falls silent. */
export function watchLife(socket: WebSocket, clock: Clock): void {
  let heardAt: Mono = clock.mono()
  let cancel: () => void = () => undefined
  const heard = () => {
    heardAt = clock.mono()
  }
  const isSilent = () => between(heardAt, clock.mono()) > SILENCE_LIMIT
  const look = () => {
    // We may have stood still ourselves: what has come meanwhile is read before anything is made of it.
    if (isSilent()) return void setImmediate(judge)
    if (socket.readyState === WebSocket.OPEN) socket.ping()
    cancel = clock.timer(ASK_EVERY, look)
  }
  const judge = () => {
    if (isSilent()) return socket.terminate()
    if (socket.readyState !== WebSocket.CLOSED) look()
  }
  socket.on('message', heard)
  socket.on('ping', heard)
  socket.on('pong', heard)
  socket.on('close', () => cancel())
  cancel = clock.timer(ASK_EVERY, look)
}

/** Says it now or not at all. */
export function sendNow(socket: WebSocket | undefined, text: string): void {
  if (socket?.readyState === WebSocket.OPEN && socket.bufferedAmount < MAX_WAITING) socket.send(text)
}
