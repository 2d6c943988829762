import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { AppError } from '@understudy/shared/core/app-error'
import { cutOff } from './cut-off.ts'

/**
 * The address of one agent: a TCP port that leads to whichever instance is primary, as an Elastic IP would. Every
 * change names its epoch, and one below the highest that was seen is refused.
 */
export interface TcpAddress {
  readonly port: number
  readonly epoch: number
  /** @throws AppError `stale_epoch` */
  point(epoch: number, target: { host: string; port: number }): void
  /** Nobody is reached until the next `point`. @throws AppError `stale_epoch` */
  drain(epoch: number): void
  close(): Promise<void>
}

export async function openTcpAddress(port: number): Promise<TcpAddress> {
  let epoch = 0
  let target: { host: string; port: number } | undefined
  const pairs = new Set<Socket>()

  const cut = () => {
    for (const socket of pairs) cutOff(socket)
    pairs.clear()
  }
  const assertFresh = (next: number) => {
    if (next < epoch)
      throw new AppError(
        'stale_epoch',
        `the address is at epoch ${epoch}; a change of epoch ${next} comes too late`,
        {
          facts: { epoch },
        },
      )
  }

  const server: Server = createServer({ noDelay: true }, (client) => {
    // A port that leads nowhere is as good as closed.
    client.on('error', () => client.destroy())
    if (!target) {
      cutOff(client)
      return
    }
    const upstream = connect({ ...target, noDelay: true })
    for (const socket of [client, upstream]) {
      pairs.add(socket)
      socket.on('close', () => {
        pairs.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    upstream.on('error', () => cutOff(client))
    client.pipe(upstream)
    upstream.pipe(client)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })

  return {
    port: (server.address() as AddressInfo).port,
    get epoch() {
      return epoch
    },
    point(next, to) {
      assertFresh(next)
      const same = next === epoch && target?.port === to.port && target.host === to.host
      epoch = next
      if (same) return
      target = to
      cut()
    },
    drain(next) {
      assertFresh(next)
      if (next === epoch && target) return
      epoch = next
      target = undefined
      cut()
    },
    close: () =>
      new Promise((resolve) => {
        cut()
        server.close(() => resolve())
      }),
  }
}
