import type { Socket } from 'node:net'

/**
 * Ends a connection at once; with a reset where that can be. Not while its end is being sent: libuv refuses the reset then, and Node
 * keeps the socket open for good and never comes to the end of the process.
 */
export function cutOff(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
