import type { LabConfig, LabFrame, PipelineStatus } from '@understudy/shared/protocol/lab'
import { createVirtualTime } from '@understudy/shared/testkit/virtual-time'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createLabLive } from './lab-live.ts'

/** A page that keeps what it is sent. */
function page() {
  const frames: LabFrame[] = []
  const closed: number[] = []
  return {
    frames,
    closed,
    socket: {
      bufferedAmount: 0,
      send: (text: string) => void frames.push(JSON.parse(text)),
      close: (code = 0) => void closed.push(code),
    },
  }
}

function start() {
  const time = createVirtualTime()
  const said = { mode: 'CLUSTER_FULL', broken: '' }
  const asked: string[] = []
  const read = (target: string) => {
    asked.push(target)
    return said.broken === target ? Promise.reject(new Error('away')) : Promise.resolve()
  }
  const live = createLabLive(
    {
      status: (id) =>
        read(id).then(() => ({ instance_id: id, pipeline_mode: said.mode }) as unknown as PipelineStatus),
      config: (id) => Promise.resolve({ instance_id: id } as LabConfig),
      experiments: { store: { list: () => Promise.resolve([]) } },
    },
    time.clock,
    pino({ level: 'silent' }),
  )
  const open = (target: string) => {
    const one = page()
    return { ...one, leave: live.streamOf(target).join(one.socket, live.first(target)) }
  }
  return { time, said, asked, live, open }
}

test('a page is sent everything once, and then only what has changed', async () => {
  const { said, live, open } = start()
  const { frames } = open('a')
  await live.look()
  await live.look()
  expect(frames).toMatchObject([{ type: 'snapshot', status: { pipeline_mode: 'CLUSTER_FULL' } }])
  expect(Object.keys(frames[0] ?? {})).toEqual(['seq', 'type', 'at', 'status', 'config', 'experiments'])
  said.mode = 'SINGLE_LINEAR'
  await live.look()
  await live.look()
  expect(frames.slice(1)).toEqual([
    {
      seq: 1,
      type: 'patch',
      at: expect.any(String),
      status: { instance_id: 'a', pipeline_mode: 'SINGLE_LINEAR' },
    },
  ])
})

test('a page that comes later takes nothing from one that was there', async () => {
  const { said, live, open } = start()
  const first = open('a')
  await live.look()
  said.mode = 'SINGLE_LINEAR'
  const second = open('a')
  await live.look()
  for (const { frames } of [first, second])
    expect(frames.at(-1)).toMatchObject({ status: { pipeline_mode: 'SINGLE_LINEAR' } })
})

test('nobody is asked about a target that nobody looks at, once a second otherwise', async () => {
  const { time, asked, live, open } = start()
  const stop = new AbortController()
  const running = live.run(stop.signal)
  await time.advance(5000)
  expect(asked).toEqual([])
  const { leave } = open('a')
  await time.advance(3000)
  const during = asked.length
  expect(during).toBeGreaterThanOrEqual(4)
  leave()
  await time.advance(5000)
  expect(asked.length).toBe(during)
  stop.abort()
  await running
})

test('a target that cannot be read keeps no other page waiting, and a page of it is let go', async () => {
  const { said, live, open } = start()
  const other = open('b')
  const early = open('a')
  await live.look()
  said.broken = 'a'
  const late = open('a')
  said.mode = 'SINGLE_LINEAR'
  await live.look()
  expect(late.closed).toEqual([1011])
  expect(other.frames.at(-1)).toMatchObject({ status: { pipeline_mode: 'SINGLE_LINEAR' } })
  expect(early.closed).toEqual([])
  said.broken = ''
  await live.look()
  expect(early.frames.at(-1)).toMatchObject({ status: { pipeline_mode: 'SINGLE_LINEAR' } })
})
