import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { minutes, systemClock } from '@understudy/shared/core/time'
import { encodeManifest, FrameFlag, FrameType } from '@understudy/shared/protocol/replication'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { WebSocket } from 'ws'
import { createBufferPool } from './buffer-pool.ts'
import { checkFrame, packFrame } from './frames.ts'
import { createPace } from './pace.ts'
import { pageCount } from './page-hash.ts'
import { createSenderSession } from './sender-session.ts'
import { createStateRoots } from './state-files.ts'
import { StateTree } from './state-tree.ts'
import { REPLICA, scratch, until, zstdOnly } from './testing.ts'

const MIB = 1024 * 1024

test('a group that grows beyond 64 MiB while it is sent goes on in bulk, and is whole at its end', async () => {
  const state = scratch()
  const tree = new StateTree()
  const hold = (name: string, size: number) => {
    writeFileSync(join(state, name), '')
    truncateSync(join(state, name), size)
    const meta = { mode: 0o644, uid: 0, gid: 0, mtimeMicros: 0, xattrs: '' }
    tree.set(`0/${name}`, { kind: 'file', meta, size, pages: new BigUint64Array(pageCount(size)).fill(1n) })
  }
  hold('a', 20 * MIB)
  hold('b', MIB)

  const sent: { seq: number; flags: number }[] = []
  const said: unknown[] = []
  let acknowledges = false
  const socket = {
    bufferedAmount: 0,
    readyState: 1,
    OPEN: 1,
    close: () => undefined,
    send(data: Buffer | string) {
      if (typeof data === 'string') return said.push(JSON.parse(data))
      const { seq, flags } = checkFrame(data)
      sent.push({ seq, flags: flags & ~FrameFlag.zstd })
      if (acknowledges) session.onMessage({ type: 'ack', durable: seq, taken: seq })
    },
  }
  const joined = {
    type: 'join' as const,
    protocol: 1,
    epoch: 1,
    instanceId: REPLICA,
    roots: 1,
    codecs: ['zstd'],
    whole: true,
    xattrs: false,
    resume: null,
  }
  const session = createSenderSession(
    {
      instance: REPLICA,
      epoch: 1,
      scanner: {
        tree,
        knownUntil: (seen) => seen,
        distrust: () => undefined,
        suspect: () => undefined,
        read: async () => undefined,
        learn: () => undefined,
      },
      roots: createStateRoots([state]),
      clock: systemClock,
      log: pino({ level: 'silent' }),
      pace: createPace(0, systemClock),
      pool: createBufferPool(),
      window: () => 8 * MIB,
      isHeld: () => false,
      isUrgent: () => false,
      cutsOnly: false,
      verify: { every: minutes(10), share: 50 },
    },
    joined,
  )
  session.attach(socket as unknown as WebSocket, joined)
  const body = encodeManifest([])
  const flags = FrameFlag.last
  session.onManifest(packFrame({ type: FrameType.manifest, epoch: 1, seq: 1, flags, body }, zstdOnly))
  // As much as may be under way, and no more.
  await until(() => sent.length === 15)
  hold('b', 60 * MIB)
  acknowledges = true
  session.onMessage({ type: 'ack', durable: 15, taken: 15 })
  await until(() => session.lag.attached)

  expect(sent.slice(0, 127).every(({ flags }) => flags === 0)).toBe(true)
  expect(sent.slice(129).every(({ flags }) => flags === FrameFlag.bulk)).toBe(true)
  expect(sent.length).toBeGreaterThan(150)
  expect(said.at(-1)).toEqual({ type: 'whole', seq: sent.length })
  session.close('the test is over')
})
