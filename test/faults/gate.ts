import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { cutOff } from '../../coordinator/src/cloud/simulated/cut-off.ts'

/** What becomes of the bytes from one party to another. */
export interface Conditions {
  /** `held` is a silent drop: nothing arrives and nothing is closed, until it is open again. */
  readonly state: 'open' | 'held' | 'cut'
  /** Milliseconds before a part is handed on, asked for each part. */
  readonly delay?: () => number
  readonly bytesPerSecond?: number
}

/** Who talks to whom through one connection, and where it goes. */
export interface Route {
  readonly from: string
  readonly to: string
  readonly port: number
}

export interface Gate {
  readonly port: number
  /** Conditions have changed: breaks what is cut, lets go what was held. */
  update(): void
  close(): Promise<void>
}

interface Pair {
  readonly route: Route
  readonly sockets: readonly [Socket, Socket]
}

/** Bytes that are under way in one direction before the sender has to wait. */
const WINDOW = 256 * 1024
/** What a slow line hands on at a time, in seconds of its speed. */
const SLICE_SECONDS = 0.02

/** A TCP proxy whose two directions can each be delayed, slowed, held or cut. Listens before anybody knows for whom. */
export async function openGate(
  routeOf: (dialled: Socket) => Promise<Route | undefined>,
  conditions: (from: string, to: string) => Conditions,
): Promise<Gate> {
  const pairs = new Set<Pair>()
  const waiting = new Set<() => void>()
  let isClosed = false
  const changed = () => new Promise<void>((resolve) => waiting.add(resolve))
  const isCut = ({ from, to }: Route) =>
    conditions(from, to).state === 'cut' || conditions(to, from).state === 'cut'

  async function untilOpen(from: string, to: string, sockets: readonly Socket[]): Promise<void> {
    while (conditions(from, to).state === 'held' && sockets.some(({ destroyed }) => !destroyed))
      await changed()
  }

  /** Hands on what comes, and in the end that it has ended, as the line from `from` to `to` allows. */
  async function carry(source: Socket, sink: Socket, from: string, to: string): Promise<void> {
    const parts: { readonly at: number; readonly bytes: Buffer }[] = []
    let held = 0
    let ended = false
    let wake = () => {}
    const onPart = (bytes: Buffer) => {
      const earliest = parts.at(-1)?.at ?? 0
      parts.push({ at: Math.max(earliest, performance.now() + (conditions(from, to).delay?.() ?? 0)), bytes })
      held += bytes.length
      if (held > WINDOW) source.pause()
      wake()
    }
    source.on('data', onPart)
    source.on('close', () => {
      ended = true
      wake()
    })
    for (;;) {
      const part = parts.shift()
      if (!part) {
        if (ended) break
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        continue
      }
      const wait = part.at - performance.now()
      if (wait > 0) await sleep(wait)
      await write(sink, part.bytes, from, to)
      held -= part.bytes.length
      if (held <= WINDOW) source.resume()
    }
    await untilOpen(from, to, [sink])
    sink.destroy()
  }

  async function write(sink: Socket, bytes: Buffer, from: string, to: string): Promise<void> {
    for (let rest = bytes; rest.length > 0 && !sink.destroyed; ) {
      await untilOpen(from, to, [sink])
      const speed = conditions(from, to).bytesPerSecond
      const part = speed ? rest.subarray(0, Math.max(1, Math.floor(speed * SLICE_SECONDS))) : rest
      rest = rest.subarray(part.length)
      if (!sink.write(part) && !sink.destroyed)
        await new Promise<void>((resolve) => sink.once('drain', resolve).once('close', resolve))
      if (speed) await sleep((part.length / speed) * 1000)
    }
  }

  async function admit(dialled: Socket): Promise<void> {
    dialled.on('error', () => undefined)
    const route = await routeOf(dialled)
    if (isClosed || !route || isCut(route)) return cutOff(dialled)
    const target = connect({ port: route.port, host: '127.0.0.1', noDelay: true })
    target.on('error', () => undefined)
    const pair: Pair = { route, sockets: [dialled, target] }
    pairs.add(pair)
    const leave = () => {
      if (dialled.destroyed && target.destroyed) pairs.delete(pair)
      for (const notice of waiting) notice()
      waiting.clear()
    }
    for (const socket of pair.sockets) socket.on('close', leave)
    void carry(dialled, target, route.from, route.to)
    void carry(target, dialled, route.to, route.from)
  }

  const server = createServer({ noDelay: true }, (dialled) => void admit(dialled))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const reset = (chosen: readonly Pair[]) => {
    for (const { sockets } of chosen)
      for (const socket of sockets) {
        if (socket.connecting) socket.destroy()
        else cutOff(socket)
      }
  }
  return {
    port: (server.address() as AddressInfo).port,
    update() {
      reset([...pairs].filter(({ route }) => isCut(route)))
      for (const notice of waiting) notice()
      waiting.clear()
    },
    close() {
      isClosed = true
      for (const { sockets } of pairs) for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}
