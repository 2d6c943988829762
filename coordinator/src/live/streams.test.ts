import { expect, test } from 'vitest'
import { createStream } from './streams.ts'

interface Frame {
  readonly n: number
}

function page() {
  const socket = {
    got: [] as Frame[],
    closed: 0,
    bufferedAmount: 0,
    send: (text: string) => void socket.got.push(JSON.parse(text) as Frame),
    close: (code?: number) => {
      socket.closed = code ?? 0
    },
  }
  return socket
}
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('what is published while the first frame is made comes after it', async () => {
  const stream = createStream<Frame>()
  const first = Promise.withResolvers<Frame>()
  const one = page()
  stream.join(one, first.promise)
  stream.publish({ n: 1 })
  expect(one.got).toEqual([])
  first.resolve({ n: 0 })
  await settled()
  stream.publish({ n: 2 })
  expect(one.got).toEqual([0, 1, 2].map((n) => ({ seq: n, n })))
})

test('a page gets frames in the shape that it wants, until it has gone; one that does not read is cut off', async () => {
  const stream = createStream<Frame>()
  const [all, tenfold, slow] = [page(), page(), page()]
  stream.join(all, Promise.resolve(undefined))
  const leave = stream.join(tenfold, Promise.resolve({ n: 1 }), ({ n }) => ({ n: n * 10 }))
  stream.join(slow, Promise.resolve(undefined))
  await settled()
  slow.bufferedAmount = 5 * 1024 * 1024
  stream.publish({ n: 2 })
  leave()
  stream.publish({ n: 3 })
  const numbered = (...values: number[]) => values.map((n, seq) => ({ seq, n }))
  expect([all.got, tenfold.got, slow.got]).toEqual([numbered(2, 3), numbered(10, 20), []])
  expect([slow.closed, stream.listeners]).toEqual([1013, 1])
})

test('a page whose first frame cannot be made is told', async () => {
  const stream = createStream<Frame>()
  const one = page()
  stream.join(one, Promise.reject(new Error('no database')))
  await settled()
  expect([one.closed, stream.listeners]).toEqual([1011, 0])
})
