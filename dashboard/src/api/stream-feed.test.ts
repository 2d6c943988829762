import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { describe, expect, it } from 'vitest'
import type { LiveSocket } from './live-feed.ts'
import { listenToStream } from './stream-feed.ts'

function stream() {
  const time = createVirtualTime()
  const sockets: (LiveSocket & { closed: boolean })[] = []
  const heard: unknown[] = []
  const links: boolean[] = []
  const end = listenToStream<object>({
    open() {
      const socket = {
        closed: false,
        onmessage: null,
        onclose: null,
        close() {
          socket.closed = true
        },
      } as LiveSocket & { closed: boolean }
      sockets.push(socket)
      return socket
    },
    clock: time.clock,
    random: () => 0,
    onframe: (frame) => heard.push(frame),
    onlink: (up) => links.push(up),
  })
  const say = (i: number, frame: unknown) =>
    sockets[i]?.onmessage?.call({} as WebSocket, { data: JSON.stringify(frame) } as MessageEvent)
  const lose = (i: number) => sockets[i]?.onclose?.call({} as WebSocket, {} as CloseEvent)
  return { time, sockets, heard, links, end, say, lose }
}

describe('a stream', () => {
  it('comes back after it was lost, and does not listen to what was before', async () => {
    const { time, sockets, heard, links, say, lose } = stream()
    say(0, { seq: 0, n: 1 })
    lose(0)
    say(0, { seq: 1, n: 2 })
    await time.advance(500)
    say(1, { seq: 0, n: 3 })
    expect([heard, links, sockets.length]).toEqual([[{ n: 1 }, { n: 3 }], [true, false, true], 2])
  })

  it('begins anew where a frame is missing', async () => {
    const { time, sockets, heard, links, say } = stream()
    say(0, { seq: 0, n: 1 })
    say(0, { seq: 2, n: 3 })
    expect([sockets[0]?.closed, links]).toEqual([true, [true, false]])
    await time.advance(500)
    say(1, { seq: 0, n: 4 })
    say(1, { seq: 1, n: 5 })
    expect(heard).toEqual([{ n: 1 }, { n: 4 }, { n: 5 }])
  })

  it('may be silent for long', async () => {
    const { time, sockets } = stream()
    await time.advance(3_600_000)
    expect(sockets).toHaveLength(1)
  })

  it('does not come back when it is ended after a loss, as when the login has ended', async () => {
    const { time, sockets, end, lose } = stream()
    lose(0)
    end()
    await time.advance(60_000)
    expect([sockets.length, time.pending()]).toEqual([1, 0])
  })

  it('ends', async () => {
    const { time, sockets, end, lose, say, heard } = stream()
    end()
    lose(0)
    say(0, { seq: 0 })
    await time.advance(60_000)
    expect([sockets.length, sockets[0]?.closed, heard, time.pending()]).toEqual([1, true, [], 0])
  })
})
