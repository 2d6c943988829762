import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach } from 'vitest'

/** A network between a replica and its primary that can be slow, stand still, or break, for tests. */
export interface TestNetwork {
  /** What the replica dials. */
  readonly port: number
  /** Bytes that went from the primary to the replica, TLS and all. */
  readonly down: number
  readonly up: number
  /** Connections that are open. */
  readonly open: number
  /** Connections that there ever were. */
  readonly opened: number
  /** Breaks every connection, now. */
  cut(): void
  /** Breaks every connection once so many more bytes have come down. */
  cutAfter(bytes: number): void
  /** Nothing goes either way, and nothing is closed, until `flow`. */
  stall(): void
  flow(): void
  /** Leads to another port from the next connection on. */
  leadTo(port: number): void
  /** Bytes per second downwards; 0 is as fast as it goes. */
  slow(bytesPerSecond: number): void
}

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** What a slow network hands on at a time, in seconds of its speed. */
const SLICE_SECONDS = 0.02

export async function createNetwork(target: number): Promise<TestNetwork> {
  const pairs = new Set<readonly [Socket, Socket]>()
  let [down, up, opened] = [0, 0, 0]
  let port = target
  let cutAt = Number.POSITIVE_INFINITY
  let standsStill: Promise<void> | undefined
  let flows: (() => void) | undefined
  let speed = 0

  const cut = () => {
    for (const sockets of pairs) for (const socket of sockets) socket.destroy()
    pairs.clear()
  }

  /** Hands on a part of what has come, at the speed of the network; returns the rest. */
  async function pass(chunk: Buffer, to: Socket, isDown: boolean): Promise<Buffer> {
    await standsStill
    const most = isDown && speed > 0 ? Math.max(1, Math.floor(speed * SLICE_SECONDS)) : chunk.length
    const part = chunk.subarray(0, isDown ? Math.min(most, cutAt - down) : most)
    if (isDown) down += part.length
    else up += part.length
    if (!to.write(part)) await new Promise((resolve) => to.once('drain', resolve).once('close', resolve))
    if (isDown && speed > 0) await sleep((part.length / speed) * 1000)
    return chunk.subarray(part.length)
  }

  /** One chunk after the other. */
  async function pipe(from: Socket, to: Socket, isDown: boolean): Promise<void> {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      for (let rest = chunk; rest.length > 0 && !to.destroyed; ) {
        rest = await pass(rest, to, isDown)
        if (down < cutAt) continue
        cutAt = Number.POSITIVE_INFINITY
        return cut()
      }
    }
    to.end()
  }

  const server = createServer((replica) => {
    opened += 1
    const primary = connect(port, '127.0.0.1')
    const sockets = [replica, primary] as const
    pairs.add(sockets)
    for (const socket of sockets) {
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        pairs.delete(sockets)
        for (const each of sockets) each.destroy()
      })
    }
    pipe(replica, primary, false).catch(() => undefined)
    pipe(primary, replica, true).catch(() => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(async () => {
    flows?.()
    cut()
    await new Promise((resolve) => server.close(resolve))
  })

  return {
    port: (server.address() as AddressInfo).port,
    get down() {
      return down
    },
    get up() {
      return up
    },
    get open() {
      return pairs.size
    },
    get opened() {
      return opened
    },
    cut,
    cutAfter(bytes) {
      cutAt = down + bytes
    },
    stall() {
      standsStill ??= new Promise((resolve) => {
        flows = resolve
      })
    },
    flow() {
      standsStill = undefined
      flows?.()
    },
    leadTo(next) {
      port = next
    },
    slow(bytesPerSecond) {
      speed = bytesPerSecond
    },
  }
}
