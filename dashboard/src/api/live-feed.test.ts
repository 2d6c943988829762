import type { LiveFrame } from '@understudy/shared/protocol/live'
import { createVirtualTime, type VirtualTime } from '@understudy/shared/testkit/virtual-time'
import { beforeEach, describe, expect, it } from 'vitest'
import { sampleAgent, sampleIncident, sampleSnapshot } from '../testkit/samples.ts'
import { createLiveFeed, type LiveFeed, type LiveSocket } from './live-feed.ts'
import type { LivePicture } from './live-picture.ts'

interface FakeSocket extends LiveSocket {
  closed: boolean
  say(frame: LiveFrame): void
  drop(): void
}

function fakeSocket(): FakeSocket {
  const socket: FakeSocket = {
    onmessage: null,
    onclose: null,
    closed: false,
    close: () => {
      socket.closed = true
    },
    say: (frame) => socket.onmessage?.call({} as WebSocket, { data: JSON.stringify(frame) } as MessageEvent),
    drop: () => socket.onclose?.call({} as WebSocket, {} as CloseEvent),
  }
  return socket
}

let time: VirtualTime
let sockets: FakeSocket[]
let pictures: LivePicture[]
let losses: number[]
let feed: LiveFeed
let luck: number

beforeEach(() => {
  time = createVirtualTime()
  sockets = []
  pictures = []
  losses = []
  luck = 0.5
  feed = createLiveFeed({
    open() {
      const socket = fakeSocket()
      sockets.push(socket)
      return socket
    },
    clock: time.clock,
    random: () => luck,
    onPicture: (picture) => pictures.push(picture),
    onLost: (tries) => losses.push(tries),
  })
  feed.start()
})

const socket = (): FakeSocket => sockets.at(-1) as FakeSocket
const patch = (seq: number, content: Extract<LiveFrame, { type: 'patch' }>['content']): LiveFrame => ({
  type: 'patch',
  seq,
  at: 1_000_000 + seq,
  content,
})
const still = (seq: number): LiveFrame => ({ type: 'still', seq, at: 1_000_000 + seq })

describe('the live feed', () => {
  it('begins with the snapshot', () => {
    socket().say(sampleSnapshot(7))
    expect(pictures.at(-1)).toMatchObject({ seq: 7, mode: 'demo', version: '0.1.0' })
    expect([...(pictures.at(-1)?.agents.keys() ?? [])]).toEqual(['agent-demo-1'])
  })

  it('puts patches on it: the latest value of a key wins, null takes it away', () => {
    socket().say(sampleSnapshot(7, [sampleAgent()], [sampleIncident()]))
    socket().say(patch(8, { agents: { 'agent-demo-1': sampleAgent({ epoch: 2 }) } }))
    socket().say(patch(9, { incidents: { [sampleIncident().id]: null } }))
    expect(pictures.at(-1)?.agents.get('agent-demo-1')?.epoch).toBe(2)
    expect(pictures.at(-1)?.incidents.size).toBe(0)
    expect(pictures[0]?.incidents.size).toBe(1)
  })

  it('keeps the very objects that a patch does not touch', () => {
    socket().say(sampleSnapshot(1, [sampleAgent(), sampleAgent({ id: 'other' })]))
    socket().say(patch(2, { agents: { other: sampleAgent({ id: 'other', epoch: 2 }) } }))
    const [first, second] = pictures
    expect(second?.agents.get('agent-demo-1')).toBe(first?.agents.get('agent-demo-1'))
    expect(second?.incidents).toBe(first?.incidents)
  })

  it('an agent may be called like a property of every object', () => {
    socket().say(sampleSnapshot(1, [sampleAgent({ id: 'constructor' })]))
    expect([...(pictures.at(-1)?.agents.keys() ?? [])]).toEqual(['constructor'])
  })

  it('a frame that comes twice changes nothing and is no gap', () => {
    socket().say(sampleSnapshot(7))
    socket().say(patch(8, { agents: { 'agent-demo-1': sampleAgent({ epoch: 2 }) } }))
    socket().say(patch(8, { agents: { 'agent-demo-1': sampleAgent({ epoch: 9 }) } }))
    expect(pictures).toHaveLength(2)
    expect(sockets).toHaveLength(1)
  })

  it('a missing frame leads to a new snapshot', async () => {
    socket().say(sampleSnapshot(7))
    socket().say(patch(9, { agents: { 'agent-demo-1': sampleAgent({ epoch: 2 }) } }))
    expect(sockets[0]?.closed).toBe(true)
    expect(losses).toEqual([1])
    expect(pictures).toHaveLength(1)
    await time.advance(1000)
    socket().say(sampleSnapshot(3))
    expect(sockets).toHaveLength(2)
    expect(pictures.at(-1)?.seq).toBe(3)
  })

  it('a patch before any snapshot is a gap', () => {
    socket().say(patch(1, {}))
    expect(losses).toEqual([1])
  })

  it('a connection on which nothing is heard for 10 s is given up', async () => {
    socket().say(sampleSnapshot(1))
    await time.advance(9000)
    socket().say(still(2))
    await time.advance(9999)
    expect(losses).toEqual([])
    await time.advance(1)
    expect(losses).toEqual([1])
  })

  it('one that is never answered is given up too', async () => {
    await time.advance(10_000)
    expect(losses).toEqual([1])
  })

  it('what an old connection still says is not heard', () => {
    socket().say(sampleSnapshot(1))
    const old = socket()
    old.drop()
    old.say(still(2))
    expect(pictures).toHaveLength(1)
  })

  it('waits 0.5 to 15 s, longer each time, until it works again', async () => {
    const waits: number[] = []
    luck = 0.999999
    for (let round = 0; round < 8; round += 1) {
      const before = sockets.length
      socket().drop()
      let waited = 0
      while (sockets.length === before) {
        await time.advance(50)
        waited += 50
      }
      waits.push(waited)
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 15_000, 15_000, 15_000, 15_000])
    expect(losses).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    socket().say(sampleSnapshot(1))
    socket().drop()
    expect(losses.at(-1)).toBe(1)
  })

  it('never waits less than half a second', async () => {
    luck = 0
    socket().drop()
    await time.advance(499)
    expect(sockets).toHaveLength(1)
    await time.advance(1)
    expect(sockets).toHaveLength(2)
  })

  it('does not wait any longer when the network has come back', () => {
    socket().drop()
    feed.retry()
    expect(sockets).toHaveLength(2)
    feed.retry()
    expect(sockets).toHaveLength(2)
  })

  it('does not connect again when it is stopped after a loss, as when the login has ended', async () => {
    socket().say(sampleSnapshot(1))
    socket().drop()
    feed.stop()
    await time.advance(60_000)
    expect([sockets.length, time.pending()]).toEqual([1, 0])
  })

  it('leaves nothing behind when it is stopped', () => {
    socket().say(sampleSnapshot(1))
    feed.stop()
    expect(socket().closed).toBe(true)
    expect(time.pending()).toBe(0)
  })
})
