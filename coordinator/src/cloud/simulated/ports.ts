import { createServer } from 'node:net'

/** Below the range from which the system takes the ports of outgoing connections, so none of those gets in the way. */
const FIRST = 20_000
const LAST = 29_999

/** Ports that an instance will listen on later. Each is given out once. */
export interface PortAllocator {
  next(): Promise<number>
}

export function createPortAllocator(): PortAllocator {
  // Several simulations on one machine begin in different places.
  let port = FIRST + Math.floor(Math.random() * (LAST - FIRST))
  return {
    async next() {
      for (let tries = FIRST; tries <= LAST; tries += 1) {
        port = port >= LAST ? FIRST : port + 1
        if (await isFree(port)) return port
      }
      throw new Error(`no port from ${FIRST} to ${LAST} is free`)
    },
  }
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
